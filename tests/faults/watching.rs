//! Gates that only watch, while their journal's disk hangs or fails: they harm nobody, unless they are told to. F04 to F06.

use std::time::Duration;

use rustix::process::Signal;

use crate::rig::{decided, decided_aside, is_ready, metric, report, turn, until, verify};
use crate::sinks::Rig;
use crate::support::{Client, Gate};

const CALL: &[u8] =
    b"GET /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\n\r\n";

/// Each call is answered by the vendor, none later than so long, and is recorded or declared lost.
fn watches(guarantee: &str, ails: u32, longest: Duration) {
    let section = format!("guarantee = \"{guarantee}\"\ndeadline_ms = 500");
    let Some(rig) = Rig::watching(&section) else {
        return;
    };
    let mut told = rig.load.forget();
    rig.ail(ails, &[&rig.first()]);
    rig.load.more(400);
    let beside = rig.load.forget();
    assert!(is_ready(&rig.gate), "what is sent elsewhere is harm");
    let p99 = beside.percentile(99);
    told.add(beside);
    rig.heal();
    until("room", Duration::from_secs(20), || {
        metric(&rig.gate, "grantgate_journal_writable") == 1.0
    });
    rig.load.more(100);
    let Rig { load, mut gate, .. } = rig;
    told.add(load.stop());
    assert_eq!(gate.stop().code(), Some(0));
    assert_eq!(told.broken, 0);
    assert_eq!(told.answers(), told.of(200), "{:?}", told.statuses);
    let gaps = gate.records_of("audit.gap");
    let lost: u64 = gaps.iter().map(|gap| gap["lost"].as_u64().unwrap()).sum();
    // Also in what was put aside after a sync had failed.
    let mut decided = decided(&gate.state_dir());
    decided.extend(decided_aside(&gate.state_dir()));
    let decisions = u64::try_from(decided.len()).unwrap();
    assert_eq!(told.answers(), decisions + lost, "requests = records + gap");
    assert_eq!(verify(&gate.state_dir()).0, 0);
    let what = if ails == 0 { "fails" } else { "hangs" };
    let experiment = if ails == 0 { "F05" } else { "F06" };
    report(
        experiment,
        &format!(
            "only watched, {guarantee}, the disk {what}: {} calls, {lost} declared lost, p99 beside it {p99:?}",
            told.answers()
        ),
    );
    // The figure that counts is the release build's.
    let most = longest * if cfg!(debug_assertions) { 4 } else { 1 };
    assert!(p99 < most, "{p99:?}");
}

#[test]
fn f06_a_disk_that_hangs_holds_no_watched_call_up() {
    let _turn = turn();
    // Fifty milliseconds, and what a call takes.
    watches("strict", 3000, Duration::from_millis(80));
    watches("best_effort", 3000, Duration::from_millis(20));
}

#[test]
fn f05_a_disk_that_fails_stops_no_watched_call() {
    let _turn = turn();
    watches("strict", 0, Duration::from_millis(80));
    watches("best_effort", 0, Duration::from_millis(20));
}

/// Who takes the journal of a gate that watches for evidence has its calls refused instead.
#[test]
fn f06_a_watching_gate_may_be_told_to_refuse() {
    let _turn = turn();
    let Some(rig) = Rig::watching("on_audit_failure = \"block\"\ndeadline_ms = 500") else {
        return;
    };
    rig.ail(2000, &[&rig.first()]);
    until("a refusal", Duration::from_secs(10), || {
        rig.load.told().of(503) > 0
    });
    let answer = |gate: &Gate| Client::connect(&gate.address).send(CALL).answer().unwrap();
    let refused = answer(&rig.gate);
    assert_eq!(
        (refused.status, refused.reason()),
        (503, "audit_unavailable")
    );
    assert!(!is_ready(&rig.gate));
    // The next configuration changes its mind, on the same disk.
    let path = rig.dir.path().join("grantgate.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"block\"", "\"forward\"")).unwrap();
    rig.gate.signal(Signal::HUP);
    until("forwarded", Duration::from_secs(10), || {
        answer(&rig.gate).status == 200
    });
    assert!(is_ready(&rig.gate));
    rig.heal();
    let Rig { load, mut gate, .. } = rig;
    load.stop();
    assert_eq!(gate.stop().code(), Some(0));
    let loaded = gate.records_of("policy.loaded");
    let said: Vec<_> = loaded
        .iter()
        .map(|record| record["gates"][0]["on_audit_failure"].as_str().unwrap())
        .collect();
    assert_eq!(said, ["block", "forward"]);
    assert_eq!(verify(&gate.state_dir()).0, 0);
    report(
        "F06",
        "a watching gate told to refuse does, until it is told to forward",
    );
}
