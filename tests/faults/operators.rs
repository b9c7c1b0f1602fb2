//! What operators and their machines do: certificates, configurations, clocks, names, power. F02, F18, F19, F23, F27, F28.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::rig::{
    decided, has, is_ready, metric, nothing_unrecorded, report, setup, turn, until, verify,
};
use crate::support::gate::Setup;
use crate::support::load::{Load, Plan};
use crate::support::portal::{Reply, ok};
use crate::support::{Gate, Portal, exchange, tls};

/// F18: certificates are rotated under load: no handshake fails, and the new one is shown at once.
fn rotations(count: usize) {
    let portal = Portal::start();
    let certs = tls::certificates();
    let gate = setup(&portal).with(&tls::setting(certs.path(), "")).start();
    let pairs: Vec<tempfile::TempDir> = (0..4).map(|_| tls::certificates()).collect();
    let trusted: Vec<&Path> = pairs
        .iter()
        .map(tempfile::TempDir::path)
        .chain([certs.path()])
        .collect();
    let app = tls::client(&trusted, &["http/1.1"], None);
    let call = |app: &Arc<rustls::ClientConfig>| {
        let mut stream = tls::connect(&gate.address, app);
        let request = b"GET /rest/crm.deal.list?auth=at-1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let sent = stream.write_all(request);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let shown = stream
            .conn
            .peer_certificates()
            .map(|chain| chain[0].to_vec());
        (sent.is_ok() && answer.starts_with("HTTP/1.1 200"), shown)
    };
    let (stop, calls, failed) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    calls.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(usize::from(!call(&app).0), Ordering::Relaxed);
                }
            });
        }
        let mut before = call(&app).1;
        for round in 0..count {
            let pair = pairs[round % pairs.len()].path();
            fs::copy(pair.join("gate.pem"), certs.path().join("gate.pem")).unwrap();
            fs::copy(pair.join("gate.key"), certs.path().join("gate.key")).unwrap();
            gate.signal(Signal::HUP);
            slowest = slowest.max(until("the new certificate", Duration::from_secs(2), || {
                call(&app).1 != before
            }));
            before = call(&app).1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    let failed = failed.load(Ordering::Relaxed);
    report(
        "F18",
        &format!(
            "{count} rotations, {} calls with a handshake each, {failed} failed, new one shown within {slowest:?}",
            calls.load(Ordering::Relaxed)
        ),
    );
    assert_eq!(failed, 0);
}

#[test]
fn f18_certificates_are_rotated() {
    let _turn = turn();
    rotations(5);
}

#[test]
#[ignore = "long: a hundred rotations"]
fn f18_a_hundred_rotations() {
    let _turn = turn();
    rotations(100);
}

/// F19: reloads under load, a quarter of them broken: no call fails, and a scope that was taken away is gone from the next
/// call on.
fn reloads(count: usize) {
    let portal = Portal::start();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let with = |scopes: &[&str]| Setup::before(&portal.address).grant("at-1", scopes);
    let mut gate = Gate::start_in(&dir, &with(&["crm"]));
    let load = Load::start(&Plan {
        clients: 4,
        token: "nobody",
        refused: 0,
        ..Plan::of(&gate.address)
    });
    let path = dir.path().join("grantgate.toml");
    let replace = |text: &str| {
        let beside = dir.path().join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &path).unwrap();
        gate.signal(Signal::HUP);
    };
    let status = || {
        let request = b"GET /rest/crm.deal.list?auth=at-1 HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";
        exchange(&gate.address, request).unwrap().status
    };
    let (mut generation, mut broken) = (1.0, 0);
    for round in 0..count {
        if round % 4 == 3 {
            replace("[[gate]]\nthis is = broken");
            until("rejected", Duration::from_secs(5), || {
                metric(&gate, "grantgate_policy_rejected") == 1.0
            });
            assert_eq!(metric(&gate, "grantgate_policy_generation"), generation);
            broken += 1;
            continue;
        }
        let granted = round % 2 == 0;
        let scopes: &[&str] = if granted { &["crm", "user"] } else { &["user"] };
        replace(&(with(scopes).text(dir.path()) + &format!("# {round}\n")));
        generation += 1.0;
        until("loaded", Duration::from_secs(5), || {
            metric(&gate, "grantgate_policy_generation") == generation
        });
        assert_eq!(
            status(),
            if granted { 200 } else { 403 },
            "from the next call on"
        );
    }
    let told = load.stop();
    assert_eq!(
        (told.broken, told.answers()),
        (0, told.of(403)),
        "{:?}",
        told.statuses
    );
    gate.stop();
    let records = gate.records();
    let of = |kind: &str| {
        records
            .iter()
            .filter(|record| record["event_kind"] == kind)
            .count()
    };
    assert_eq!(of("policy.rejected"), broken);
    assert!(
        records
            .iter()
            .filter(|record| record["event_kind"] == "call.decision")
            .all(|record| record["gen"].is_u64())
    );
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report(
        "F19",
        &format!(
            "{count} reloads, {broken} of them broken, beside {} calls: none failed, each names its generation",
            told.answers()
        ),
    );
}

#[test]
fn f19_reloads_under_load() {
    let _turn = turn();
    reloads(12);
}

#[test]
#[ignore = "long: two hundred reloads"]
fn f19_two_hundred_reloads() {
    let _turn = turn();
    reloads(200);
}

/// F23: the clock jumps: an expired token stays expired while the clock says so, times of waiting do not change, and the
/// order of records is their number.
#[test]
fn f23_the_clock_jumps() {
    let _turn = turn();
    if !has("cc") {
        return report("F23", "skipped: no C compiler for the clock's stand-in");
    }
    let dir = tempfile::tempdir().unwrap();
    let (library, offset) = (dir.path().join("clock.so"), dir.path().join("offset"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/clock.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .args(["-ldl"])
        .status();
    assert!(made.unwrap().success());
    fs::write(&offset, "0").unwrap();
    let portal = Portal::scripted(|request| {
        Reply::Bytes(ok(if request.target.starts_with("/oauth/token") {
            r#"{"access_token":"learned","scope":"crm","expires_in":1800}"#
        } else {
            r#"{"result":true}"#
        }))
    });
    // Half an hour from now.
    let expires = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 1800;
    let expires = rfc3339(expires);
    let mut setup = Setup::before(&portal.address);
    setup.after =
        format!("[[gate.grant]]\ntoken = \"at-1\"\nscopes = [\"crm\"]\nexpires = {expires:?}\n");
    setup.env.insert(
        "LD_PRELOAD".to_owned(),
        library.to_str().unwrap().to_owned(),
    );
    setup.env.insert(
        "CLOCK_OFFSET".to_owned(),
        offset.to_str().unwrap().to_owned(),
    );
    let mut gate = setup.start();
    // One that was learned: half an hour from now, by a clock that does not jump.
    let login =
        b"GET /oauth/token/?grant_type=authorization_code&code=c HTTP/1.1\r\nhost: gate\r\n\r\n";
    assert_eq!(exchange(&gate.address, login).unwrap().status, 200);
    let mut told = Vec::new();
    for (jump, status) in [
        (0, 200),
        (600, 200),
        (3600, 401),
        (-600, 200),
        (86_400, 401),
        (-86_400, 200),
        (0, 200),
    ] {
        fs::write(&offset, jump.to_string()).unwrap();
        let began = Instant::now();
        let request = b"GET /rest/crm.deal.list?auth=at-1 HTTP/1.1\r\nhost: gate\r\n\r\n";
        let answer = exchange(&gate.address, request).unwrap();
        assert_eq!(answer.status, status, "at {jump} s");
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(is_ready(&gate));
        let learned = b"GET /rest/crm.deal.list?auth=learned HTTP/1.1\r\nhost: gate\r\n\r\n";
        assert_eq!(
            exchange(&gate.address, learned).unwrap().status,
            200,
            "learned, at {jump} s"
        );
        told.push(format!("{jump} s: {status}"));
    }
    gate.stop();
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report("F23", &told.join(", "));
}

/// A time in UTC (RFC 3339).
fn rfc3339(secs: u64) -> String {
    let output = Command::new("date")
        .args(["-u", "-d", &format!("@{secs}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// F02: the power goes: what a disk holds at any moment has a decision for every call that reached the portal.
#[test]
#[ignore = "long: needs to mount file systems"]
fn f02_the_power_goes() {
    let _turn = turn();
    let rounds = std::env::var("GRANTGATE_POWER_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let image = dir.path().join("disk");
    let state = dir.path().join("var");
    fs::create_dir(&state).unwrap();
    let shell = |command: &str| {
        Command::new("sh")
            .args(["-c", command])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let (image_text, state_text) = (image.to_str().unwrap(), state.to_str().unwrap());
    if !shell(&format!(
        "truncate -s 64M {image_text} && mkfs.ext4 -q {image_text} && mount -o loop {image_text} {state_text}"
    )) {
        return report("F02", "skipped: no loop device can be mounted here");
    }
    let portal = Portal::start();
    let mut gate = Gate::start_in(&dir, &setup(&portal).section("[audit]\nreserve_mib = 1"));
    let load = Load::start(&Plan {
        refused: 0,
        ..Plan::of(&gate.address)
    });
    let mut reached = 0;
    for round in 0..rounds {
        load.more(40 + round * 7);
        gate.signal(Signal::STOP);
        // What has reached the portal by now must be in what the disk holds now.
        let seen: Vec<String> = portal
            .received()
            .iter()
            .map(|one| one.header("x-request-id").unwrap().to_owned())
            .collect();
        let copy = dir.path().join("copy");
        fs::copy(&image, &copy).unwrap();
        gate.signal(Signal::CONT);
        let at = dir.path().join("at");
        fs::create_dir_all(at.join("var")).unwrap();
        assert!(shell(&format!(
            "mount -o loop {} {}",
            copy.display(),
            at.join("var").display()
        )));
        let known = decided(&at.join("var"));
        let missing: Vec<&String> = seen.iter().filter(|id| !known.contains(*id)).collect();
        let (code, said) = {
            // As after a crash: the next start repairs, then the journal holds.
            let mut again = Gate::start_in(
                &Arc::new(tempfile::tempdir_in(dir.path()).unwrap()),
                &at_state(&portal, &at.join("var")),
            );
            again.stop();
            verify(&at.join("var"))
        };
        assert!(shell(&format!("umount {}", at.join("var").display())));
        assert!(missing.is_empty(), "round {round}: {missing:?}");
        assert_eq!(code, 0, "{said}");
        reached = seen.len();
    }
    load.stop();
    gate.stop();
    drop(gate);
    shell(&format!("umount {state_text}"));
    report(
        "F02",
        &format!(
            "{rounds} copies of the disk, {reached} calls in the last: each with its decision, chain whole after repair"
        ),
    );
}

/// A gate on a state directory that is there already.
fn at_state(portal: &Portal, state: &Path) -> Setup {
    let mut setup = setup(portal);
    setup.state = Some(state.to_owned());
    setup
}

/// Runs this test binary again within namespaces of its own, where the network is only ours.
fn within_namespaces(test: &str, prepare: &str) -> bool {
    let program = std::env::current_exe().unwrap();
    let command = format!(
        "ip link set lo up && {prepare} && exec {} --ignored --exact {test} --nocapture",
        program.display()
    );
    let status = Command::new("unshare")
        .args(["-mn", "sh", "-c", &command])
        .env("GRANTGATE_WITHIN", "1")
        .status();
    status.is_ok_and(|status| status.success())
}

fn is_within() -> bool {
    std::env::var_os("GRANTGATE_WITHIN").is_some()
}

/// F27: five of a hundred packets are lost and the line is narrow: no wrong answer, nothing reaches the portal twice.
#[test]
#[ignore = "long: needs a network namespace"]
fn f27_a_bad_network() {
    let _turn = turn();
    if !is_within() {
        if !within_namespaces(
            "true",
            "tc qdisc add dev lo root netem loss 5% rate 8mbit 2>/dev/null",
        ) {
            return report("F27", "skipped: no network namespace with netem here");
        }
        assert!(within_namespaces(
            "operators::f27_a_bad_network",
            "tc qdisc add dev lo root netem loss 5% rate 8mbit"
        ));
        return;
    }
    let portal = Portal::start();
    let mut gate = setup(&portal).start();
    let load = Load::start(&Plan {
        clients: 8,
        ..Plan::of(&gate.address)
    });
    load.more(500);
    let told = load.stop();
    gate.stop();
    assert_eq!(
        told.answers(),
        told.of(200) + told.of(403),
        "{:?}",
        told.statuses
    );
    let reached = nothing_unrecorded(&portal, &gate.state_dir());
    report(
        "F27",
        &format!(
            "{} answers, all right, {reached} calls reached the portal, each once; p99 {:?}",
            told.answers(),
            told.percentile(99)
        ),
    );
}

/// F28: the portal's name gets another address, then none: the new one is used, and what stands goes on.
#[test]
#[ignore = "long: needs a mount namespace for a resolver of its own"]
fn f28_a_name_gets_another_address() {
    let _turn = turn();
    let prepare = "echo 'nameserver 127.0.0.1' > /tmp/grantgate-resolv.$$ && mount --bind /tmp/grantgate-resolv.$$ /etc/resolv.conf";
    if !is_within() {
        if !within_namespaces("true", prepare) {
            return report("F28", "skipped: no mount namespace here");
        }
        assert!(within_namespaces(
            "operators::f28_a_name_gets_another_address",
            prepare
        ));
        return;
    }
    let address = Arc::new(std::sync::Mutex::new(Some([127, 0, 0, 2])));
    serve_names(Arc::clone(&address));
    let first = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let second = std::net::TcpListener::bind(("127.0.0.3", port)).unwrap();
    let answers = |listener: std::net::TcpListener, name: &'static str, alive: Arc<AtomicBool>| {
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let alive = Arc::clone(&alive);
                std::thread::spawn(move || {
                    while alive.load(Ordering::Relaxed)
                        && stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0)
                    {
                        let body = format!("{{\"result\":{name:?}}}");
                        let _ = write!(
                            stream,
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                    }
                });
            }
        });
    };
    let (one, two) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(true)),
    );
    answers(first, "first", Arc::clone(&one));
    answers(second, "second", two);
    let setup = Setup::before(&format!("portal.test:{port}"))
        .with("allow_plain_upstream = true")
        .grant("at-1", &["crm"]);
    let mut gate = setup.start();
    let ask = || {
        exchange(
            &gate.address,
            b"GET /rest/crm.deal.list?auth=at-1 HTTP/1.1\r\nhost: gate\r\n\r\n",
        )
        .unwrap()
    };
    assert!(ask().text().contains("first"));
    *address.lock().unwrap() = Some([127, 0, 0, 3]);
    one.store(false, Ordering::Relaxed);
    let mut failures = 0;
    let moved = until("the new address", Duration::from_secs(10), || {
        let answer = ask();
        failures += usize::from(answer.status != 200);
        answer.text().contains("second")
    });
    *address.lock().unwrap() = None;
    for _ in 0..20 {
        assert_eq!(
            ask().status,
            200,
            "a connection that stands goes on without a name"
        );
    }
    gate.stop();
    report(
        "F28",
        &format!(
            "new address after {moved:?} and {failures} failures; without any the standing connection goes on"
        ),
    );
}

/// Answers every question for an address with the one at hand, or that there is no such name.
fn serve_names(address: Arc<std::sync::Mutex<Option<[u8; 4]>>>) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let question = &query[12..length];
            let end = question.iter().position(|b| *b == 0).unwrap() + 5;
            let is_a = question[end - 4..end - 2] == [0, 1];
            let known = *address.lock().unwrap();
            let answers = known.filter(|_| is_a);
            let mut answer = query[..2].to_vec();
            answer.extend([
                0x81,
                if known.is_some() { 0x80 } else { 0x83 },
                0,
                1,
                0,
                u8::from(answers.is_some()),
                0,
                0,
                0,
                0,
            ]);
            answer.extend(&question[..end]);
            if let Some(address) = answers {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                answer.extend(address);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}
