//! What operators and their machines do: certificates, configurations, clocks. F18, F19 and F23.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::rig::{between, is_ready, metric, report, setup, turn, until, verify};
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
    let with = |scopes: &[&str]| {
        let setup = Setup::before(&portal.address).grant("at-1", scopes);
        setup.grant("always", &["crm"])
    };
    let mut gate = Gate::start_in(&dir, &with(&["crm"]));
    let start = |token| {
        Load::start(&Plan {
            clients: 2,
            token,
            refused: 0,
            ..Plan::of(&gate.address)
        })
    };
    let (load, permitted) = (start("nobody"), start("always"));
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
    let mut with_scope = BTreeSet::new();
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
        if granted {
            with_scope.insert(generation as u64);
        }
        until("loaded", Duration::from_secs(5), || {
            metric(&gate, "grantgate_policy_generation") == generation
        });
        assert_eq!(
            status(),
            if granted { 200 } else { 403 },
            "from the next call on"
        );
    }
    let (told, permitted) = (load.stop(), permitted.stop());
    assert_eq!(
        (told.broken, told.answers()),
        (0, told.of(403)),
        "{:?}",
        told.statuses
    );
    assert_eq!(
        (permitted.broken, permitted.answers()),
        (0, permitted.of(200)),
        "{:?}",
        permitted.statuses
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
    // The verdict on the token whose scopes change is that of the generation which its record names.
    let mut judged = 0;
    for record in &records {
        if record["event_kind"] == "call.decision" && record["token"]["location"] == "query" {
            let allowed = record["decision"] == "allow";
            let generation = record["gen"].as_u64().unwrap();
            assert_eq!(allowed, with_scope.contains(&generation), "{record}");
            judged += 1;
        }
    }
    assert_eq!(judged, count - broken);
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report(
        "F19",
        &format!(
            "{count} reloads, {broken} of them broken, beside {} refused and {} forwarded calls: none failed, each fits the generation that it names",
            told.answers(),
            permitted.answers()
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

/// Whoever should read the log hangs, as what keeps a container's may: calls, reloads and the end go on.
#[test]
fn f19_nobody_reads_the_log() {
    let _turn = turn();
    let portal = Portal::start();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let with = |scopes: &[&str]| {
        let mut setup = Setup::before(&portal.address).grant("at-1", scopes);
        setup.unheard = true;
        setup.env.insert("RUST_LOG".to_owned(), "info".to_owned());
        setup
    };
    let mut gate = Gate::start_in(&dir, &with(&["crm"]));
    let load = Load::start(&Plan {
        refused: 0,
        pause: Duration::from_millis(1),
        ..Plan::of(&gate.address)
    });
    let path = dir.path().join("grantgate.toml");
    // Each is told in the log, which has room for a dozen lines.
    const RELOADS: u32 = 60;
    for number in 1..=RELOADS {
        let beside = dir.path().join("beside");
        let text = with(&["crm"]).text(dir.path()) + &format!("# {number}\n");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &path).unwrap();
        gate.signal(Signal::HUP);
        until("loaded", Duration::from_secs(5), || {
            metric(&gate, "grantgate_policy_generation") == f64::from(1 + number)
        });
    }
    load.forget();
    load.more(500);
    let told = load.stop();
    assert_eq!((told.answers(), told.broken), (told.of(200), 0));
    let asked = Instant::now();
    assert!(gate.stop().success());
    let took = asked.elapsed();
    report(
        "F19",
        &format!(
            "nobody reads the log: {RELOADS} reloads came into force, no call failed, ended after {took:?}"
        ),
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(verify(&gate.state_dir()).0, 0);
}

/// F23: the clock jumps: an expired token stays expired while the clock says so, times of waiting do not change, and the
/// order of records is their number.
#[test]
fn f23_the_clock_jumps() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let offset = dir.path().join("offset");
    let Some(library) = between(dir.path(), "clock.c") else {
        return report("F23", "skipped: no C compiler for the clock's stand-in");
    };
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
