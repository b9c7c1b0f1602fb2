//! A new configuration while calls go on: taken over whole, or not at all.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::gate::Setup;
use support::portal::Reply;
use support::{Client, Gate, Portal, exchange, tls};

/// Waits until a metric has a value; asks again until then, for a minute at most.
fn wait_for(gate: &Gate, metric: &str, value: &str) {
    let line = format!("grantgate_{metric} {value}");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::time::Instant::now() < until {
        if gate.admin("/metrics").text().lines().any(|one| one == line) {
            return;
        }
    }
    panic!("{line} did not come:\n{}", gate.log());
}

fn call(gate: &Gate, method: &str) -> (u16, String) {
    let bytes =
        format!("GET /rest/{method}?auth=T HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n");
    let answer = exchange(&gate.address, bytes.as_bytes()).unwrap();
    (answer.status, answer.reason().to_owned())
}

/// Writes another configuration beside the old one and puts it into its place, as editors do.
fn rewrite(dir: &Path, text: &str) {
    let (new, path) = (dir.join("grantgate.new"), dir.join("grantgate.toml"));
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn started(setup: &Setup) -> (Arc<tempfile::TempDir>, Gate) {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let gate = Gate::start_in(&dir, setup);
    (dir, gate)
}

#[test]
fn a_hangup_while_the_configuration_is_read_has_it_read_again() {
    let portal = Portal::start();
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::before(&portal.address);
    let text = setup.text(dir.path());
    let config = dir.path().join("grantgate.toml");
    let made = Command::new("mkfifo").arg(&config).status().unwrap();
    assert!(made.success());
    let mut program = Command::new(env!("CARGO_BIN_EXE_grantgate"))
        .args(["serve", "--config"])
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Opening waits for who reads, who then waits for the text's end.
    let mut pipe = fs::OpenOptions::new().write(true).open(&config).unwrap();
    rewrite(dir.path(), &setup.grant("T", &["crm"]).text(dir.path()));
    kill_process(Pid::from_child(&program), Signal::HUP).unwrap();
    pipe.write_all(text.as_bytes()).unwrap();
    drop(pipe);
    let log = BufReader::new(program.stderr.take().unwrap()).lines();
    let mut log = log.map(Result::unwrap);
    let in_force = log.any(|line| line.contains("a new configuration is in force"));
    assert!(in_force, "it ended: {}", program.wait().unwrap());
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn a_hangup_brings_a_new_grant_and_each_record_names_its_generation() {
    let portal = Portal::start();
    let before = Setup::before(&portal.address).grant("T", &["crm"]);
    let (dir, mut gate) = started(&before);
    assert_eq!(call(&gate, "user.get").0, 403);
    let after = Setup::before(&portal.address)
        .with("mode = \"report\"")
        .grant("T", &["user"]);
    // In place, without a change of its size or name: the signal alone must do.
    fs::write(dir.path().join("grantgate.toml"), after.text(dir.path())).unwrap();
    gate.signal(Signal::HUP);
    wait_for(&gate, "policy_generation", "2");
    assert_eq!(call(&gate, "user.get").0, 200);
    assert_eq!(call(&gate, "crm.deal.list").0, 200, "only watched by now");
    assert_eq!(gate.stop().code(), Some(0));
    let seen: Vec<(Value, Value)> = gate
        .records_of("call.decision")
        .iter()
        .map(|record| (record["gen"].clone(), record["decision"].clone()))
        .collect();
    let expected = [(1, "deny"), (2, "allow"), (2, "would_deny")];
    assert_eq!(
        seen,
        expected.map(|(generation, word)| (Value::from(generation), Value::from(word)))
    );
    let loaded = gate.records_of("policy.loaded");
    assert_eq!(loaded.len(), 2);
    assert_eq!(loaded[1]["gates"][0]["mode"], "report");
    assert_eq!(loaded[1]["gates"][0]["guarantee"], "strict");
    assert_ne!(loaded[0]["policy"]["id"], loaded[1]["policy"]["id"]);
    // A seq without a gap, over both generations.
    let (code, out, _) = support::gate::run(&[
        "audit",
        "verify",
        "--state-dir",
        gate.state_dir().to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn a_broken_file_changes_nothing_and_says_so_until_it_is_mended() {
    let portal = Portal::start();
    let setup = Setup::before(&portal.address).grant("T", &["crm"]);
    let (dir, mut gate) = started(&setup);
    for (broken, detail) in [
        (
            setup.text(dir.path()).replace("scopes", "scoops"),
            "the first in line",
        ),
        ("[[gate".to_owned(), "the first in line 1"),
        (
            setup
                .text(dir.path())
                .replace("name = \"portal\"", "name = \"other\""),
            "this takes a restart",
        ),
    ] {
        let before = gate.log().matches("was not taken over").count();
        rewrite(dir.path(), &broken);
        gate.signal(Signal::HUP);
        wait_for(&gate, "policy_rejected", "1");
        assert_eq!(call(&gate, "crm.deal.list").0, 200, "{detail}");
        while gate.log().matches("was not taken over").count() == before {
            std::thread::yield_now();
        }
        // Mended: the old text in its place is a new generation.
        rewrite(dir.path(), &setup.text(dir.path()));
        gate.signal(Signal::HUP);
        wait_for(&gate, "policy_rejected", "0");
        let rejected = gate.records_of("policy.rejected");
        let last = rejected.last().unwrap();
        assert!(
            last["detail"].as_str().unwrap().contains(detail),
            "{last} instead of {detail}"
        );
    }
    assert_eq!(call(&gate, "crm.deal.list").0, 200);
    assert_eq!(gate.stop().code(), Some(0));
    let decisions = gate.records_of("call.decision");
    assert!(decisions[..1].iter().all(|record| record["gen"] == 1));
}

#[test]
fn a_swapped_link_is_noticed_without_a_signal() {
    // As Kubernetes mounts a secret: a file that is a link into a directory that is a link.
    let portal = Portal::start();
    let mounted = tempfile::tempdir().unwrap();
    let version = |name: &str, token: &str| {
        let dir = mounted.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("token"), token).unwrap();
        let link = mounted.path().join(format!("link-{name}"));
        std::os::unix::fs::symlink(name, &link).unwrap();
        fs::rename(link, mounted.path().join("..data")).unwrap();
    };
    version("v1", "T");
    let file = mounted.path().join("token");
    std::os::unix::fs::symlink("..data/token", &file).unwrap();
    let mut setup = Setup::before(&portal.address);
    setup.after = format!("[[gate.grant]]\ntoken = {{ file = {file:?} }}\nscopes = [\"crm\"]\n");
    let (_dir, gate) = started(&setup);
    assert_eq!(call(&gate, "crm.deal.list").0, 200);
    version("v2", "another");
    wait_for(&gate, "policy_generation", "2");
    assert_eq!(
        call(&gate, "crm.deal.list"),
        (403, "token_unknown".to_owned())
    );
}

#[test]
fn a_call_under_way_keeps_its_generation_and_the_next_goes_to_the_new_upstream() {
    let (arrived, released) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (came, wait) = (Arc::clone(&arrived), Arc::clone(&released));
    let old = Portal::scripted(move |_| {
        came.store(true, Ordering::Release);
        while !wait.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        Reply::Bytes(support::portal::ok(r#"{"from":"old"}"#))
    });
    let new = Portal::scripted(|_| Reply::Bytes(support::portal::ok(r#"{"from":"new"}"#)));
    let (dir, mut gate) = started(&Setup::before(&old.address).grant("T", &["crm"]));
    let mut held = Client::connect(&gate.address);
    let request = b"GET /rest/crm.deal.list?auth=T HTTP/1.1\r\nhost: gate\r\n\r\n";
    held.send(request);
    while !arrived.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    let after = Setup::before(&new.address).grant("T", &["crm"]);
    rewrite(dir.path(), &after.text(dir.path()));
    gate.signal(Signal::HUP);
    wait_for(&gate, "policy_generation", "2");
    let fresh = exchange(&gate.address, request).unwrap();
    assert_eq!(fresh.json()["from"], "new");
    released.store(true, Ordering::Release);
    assert_eq!(held.answer().unwrap().json()["from"], "old");
    // The same connection from the app goes on, with the generation in force; the kept one to the old portal does not.
    held.send(request);
    assert_eq!(held.answer().unwrap().json()["from"], "new");
    assert_eq!(old.received().len(), 1);
    assert_eq!(gate.stop().code(), Some(0));
    let destinations: Vec<(Value, Value)> = gate
        .records_of("call.decision")
        .iter()
        .map(|record| (record["gen"].clone(), record["destination"].clone()))
        .collect();
    let expected = [(1, &old.address), (2, &new.address), (2, &new.address)];
    assert_eq!(
        destinations,
        expected.map(|(generation, address)| {
            (Value::from(generation), Value::from(address.as_str()))
        })
    );
}

#[test]
fn certificates_are_swapped_under_load_without_a_failed_handshake() {
    let portal = Portal::start();
    let (certs, next) = (tls::certificates(), tls::certificates());
    let path = |name: &str| certs.path().join(name);
    // Both authorities are trusted: what may fail is the handshake, not the trust.
    let client = tls::client(&[certs.path(), next.path()], &["http/1.1"], None);
    let setup = Setup::before(&portal.address)
        .grant("T", &["crm"])
        .with(&tls::setting(certs.path(), ""));
    let (_dir, gate) = started(&setup);
    let (stop, handshakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let shown = |address: &str| {
        let (certificate, answer) = https(address, &client);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        handshakes.fetch_add(1, Ordering::Relaxed);
        certificate
    };
    let before = shown(&gate.address);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    shown(&gate.address);
                }
            });
        }
        // The certificate first: for a moment it does not fit the key, and the old pair must stay.
        fs::copy(next.path().join("gate.pem"), path("gate.pem")).unwrap();
        gate.signal(Signal::HUP);
        wait_for(&gate, "policy_rejected", "1");
        fs::copy(next.path().join("gate.key"), path("gate.key")).unwrap();
        gate.signal(Signal::HUP);
        wait_for(&gate, "policy_rejected", "0");
        stop.store(true, Ordering::Relaxed);
    });
    assert_ne!(shown(&gate.address), before, "the new certificate is shown");
    assert!(handshakes.load(Ordering::Relaxed) > 4);
    assert!(!gate.log().contains("a TLS handshake failed"));
}

/// One call by TLS: the certificate that the gate showed, and its answer.
fn https(address: &str, config: &Arc<rustls::ClientConfig>) -> (Vec<u8>, String) {
    let mut stream = tls::connect(address, config);
    let request =
        "GET /rest/crm.deal.list?auth=T HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let certificate = stream.conn.peer_certificates().unwrap()[0].to_vec();
    (certificate, answer)
}

#[test]
fn a_changed_catalogue_comes_into_force_and_its_operations_keep_their_counts() {
    let portal = Portal::start();
    let copied = tempfile::tempdir().unwrap();
    let dir = copied.path().join("bitrix24");
    fs::create_dir(&dir).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/catalogue/bitrix24");
    for file in fs::read_dir(source).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    let mut setup = Setup::before(&portal.address).grant("T", &["crm", "task"]);
    setup.top = String::new();
    let text = |dir: &Path, setup: &Setup| {
        format!("catalogue_dir = {:?}\n{}", copied.path(), setup.text(dir))
    };
    let (place, gate) = started(&setup);
    rewrite(place.path(), &text(place.path(), &setup));
    gate.signal(Signal::HUP);
    wait_for(&gate, "policy_generation", "2");
    assert_eq!(call(&gate, "crm.deal.list").0, 200);
    // The first operation goes: every other one moves up. And one needs another scope from now on.
    let table = dir.join("operations.tsv");
    let lines = fs::read_to_string(&table).unwrap();
    let lines: Vec<String> = lines
        .lines()
        .filter(|line| !line.starts_with("v2\taccess.name\t"))
        .map(|line| line.replace("\tcrm.deal.get\tcrm\t", "\tcrm.deal.get\tuser\t"))
        .collect();
    fs::write(&table, lines.join("\n") + "\n").unwrap();
    wait_for(&gate, "policy_generation", "3");
    assert_eq!(call(&gate, "crm.deal.list").0, 200);
    assert_eq!(call(&gate, "crm.deal.get").0, 403);
    let metrics = gate.admin("/metrics").text();
    let counted: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("grantgate_calls_total") && line.contains("crm.deal"))
        .collect();
    assert_eq!(counted.len(), 2, "{counted:?}");
    assert!(
        counted
            .iter()
            .any(|line| line.contains("crm.deal.list") && line.ends_with(" 2"))
    );
    assert!(
        counted
            .iter()
            .any(|line| line.contains("crm.deal.get") && line.contains("deny"))
    );
}

/// Secrets may come after the configuration that names them, as a cluster makes its objects in any order: the gate takes
/// it over by itself once all is there.
#[test]
fn a_secret_that_comes_late_is_waited_for() {
    let portal = Portal::start();
    let (dir, mut gate) = started(&Setup::before(&portal.address).grant("T", &["crm"]));
    let secret = dir.path().join("secret");
    let mut after = Setup::before(&portal.address);
    after.after = format!("[[gate.grant]]\ntoken = {{ file = {secret:?} }}\nscopes = [\"user\"]\n");
    rewrite(dir.path(), &after.text(dir.path()));
    wait_for(&gate, "policy_rejected", "1");
    assert_eq!(
        call(&gate, "user.get").0,
        403,
        "the generation in force stays"
    );
    fs::write(&secret, "T").unwrap();
    wait_for(&gate, "policy_generation", "2");
    assert_eq!(call(&gate, "user.get").0, 200);
    gate.stop();
}

/// How long calls under way may take is what the generation in force says when the stop is asked for.
#[test]
fn a_shorter_grace_holds_at_once() {
    let portal = Portal::scripted(|_| Reply::Hang(Vec::new()));
    let setup = Setup::before(&portal.address).grant("T", &["crm"]);
    let (dir, mut gate) = started(&setup);
    let mut under_way = Client::connect(&gate.address);
    under_way.send(b"GET /rest/crm.deal.list?auth=T HTTP/1.1\r\nhost: gate\r\n\r\n");
    while portal.received().is_empty() {
        std::thread::yield_now();
    }
    rewrite(
        dir.path(),
        &setup.section("[limits]\ngrace_secs = 1").text(dir.path()),
    );
    gate.signal(Signal::HUP);
    wait_for(&gate, "policy_generation", "2");
    let asked = std::time::Instant::now();
    gate.stop();
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(10),
        "the default is thirty"
    );
    let ends = gate.records_of("call.completion");
    let outcomes: Vec<&Value> = ends.iter().map(|end| &end["outcome"]).collect();
    assert_eq!(outcomes, ["aborted"]);
}

/// A guarantee that was given does not change while the program runs.
#[test]
fn another_guarantee_takes_a_restart() {
    let portal = Portal::start();
    let setup = Setup::before(&portal.address).grant("T", &["crm"]);
    let (dir, mut gate) = started(&setup);
    let weaker = setup.section("[audit]\nguarantee = \"durable\"");
    rewrite(dir.path(), &weaker.text(dir.path()));
    wait_for(&gate, "policy_rejected", "1");
    gate.wait_for_log("this takes a restart");
    gate.stop();
}
