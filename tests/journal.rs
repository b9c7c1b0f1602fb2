//! The journal: what it holds, that it shows every change, and that nothing is lost when the gate is killed.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use support::gate::{Setup, records, run};
use support::portal::Reply;
use support::{Client, Gate, Portal, exchange};

const TOKEN: &str = "at-1";

fn call(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {TOKEN}\r\nx-request-id: req-7\r\n\r\n"
    )
}

fn verify(state_dir: &Path) -> (i32, String) {
    let (code, out, _) = run(&[
        "audit",
        "verify",
        "--state-dir",
        state_dir.to_str().unwrap(),
    ]);
    (code, out)
}

#[test]
fn a_call_leaves_a_decision_and_a_completion_that_say_everything() {
    let portal = Portal::start();
    let setup = Setup::before(&portal.address).with("app = \"crm-sync\"");
    let mut gate = Setup {
        after:
            "[[gate.grant]]\ntoken = \"at-1\"\nscopes = [\"crm\", \"user_brief\"]\nuser = \"7\"\n"
                .into(),
        ..setup
    }
    .start();
    let refused = exchange(
        &gate.address,
        call("/rest/task.item.list.json?bx24_request_id=1&filter[x]=y").as_bytes(),
    )
    .unwrap();
    let allowed = exchange(&gate.address, call("/rest/crm.deal.list").as_bytes()).unwrap();
    gate.stop();
    let kinds: Vec<String> = gate
        .records()
        .iter()
        .map(|r| r["event_kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(&kinds[..2], ["audit.started", "policy.loaded"]);
    assert_eq!(gate.records()[0]["audit"]["guarantee"], "strict");
    assert_eq!(kinds.last().unwrap(), "audit.stopped");
    let decisions = gate.records_of("call.decision");
    let deny = &decisions[0];
    assert_eq!(
        refused.header("grantgate-decision"),
        deny["event_id"].as_str()
    );
    assert_eq!(
        allowed.header("grantgate-decision"),
        decisions[1]["event_id"].as_str()
    );
    let expected = serde_json::json!({
        "gen": 1, "gate": "portal", "app": "crm-sync", "vendor": "bitrix24", "operation": "task.item.list",
        "decision": "deny", "mode": "enforce", "reason": "scope_missing",
        "scopes": { "required": [["task"]], "granted": ["crm", "user_brief"], "missing": ["task"] },
        "subject": { "id": "7", "kind": "user" },
        "http": { "method": "GET", "version": "1.1" },
        "url": { "path": "/rest/task.item.list.json", "query_keys": ["bx24_request_id", "filter[x]"] },
        "client_request_id": "req-7", "destination": portal.address,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&deny[field], value, "{field}");
    }
    assert_eq!(
        (&deny["token"]["kind"], &deny["token"]["location"]),
        (&"access".into(), &"header".into())
    );
    assert_eq!(deny["token"]["ref"].as_str().unwrap().len(), 32);
    assert_eq!(deny["grant"]["source"], "config");
    let ends = gate.records_of("call.completion");
    // Completions hold nobody up: two cores may hand theirs over in either order.
    let end_of = |decision: &serde_json::Value| {
        ends.iter()
            .find(|end| end["event_group"] == decision["event_group"])
            .expect("every decision has its completion")
    };
    assert_eq!(ends.len(), 2);
    let refusal = end_of(deny);
    assert_eq!(refusal["outcome"], "not_forwarded");
    assert_eq!(refusal["response"]["status"], 403);
    assert_eq!(refusal["response"]["origin"], "gate");
    let answer = end_of(&decisions[1]);
    assert_eq!(answer["outcome"], "ok");
    assert_eq!(answer["response"]["origin"], "vendor");
    assert_eq!(answer["response"]["bytes"], allowed.body.len());
    assert_eq!(answer["destination"], portal.address);
    assert!(
        answer["response"]["latency_us"].as_u64().unwrap()
            <= answer["duration_us"].as_u64().unwrap()
    );
    assert_eq!(verify(&gate.state_dir()).0, 0);
}

#[test]
fn sequence_and_chain_go_on_over_restarts() {
    let portal = Portal::start();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = Setup::before(&portal.address).grant(TOKEN, &["crm"]);
    for _ in 0..3 {
        let mut gate = Gate::start_in(&dir, &setup);
        exchange(&gate.address, call("/rest/crm.deal.list").as_bytes()).unwrap();
        assert_eq!(gate.stop().code(), Some(0));
    }
    let records = records(&dir.path().join("var"));
    let numbers: Vec<u64> = records
        .iter()
        .map(|record| record["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(
        numbers,
        (1..=15).collect::<Vec<_>>(),
        "five records a run: started, loaded, decision, completion, stopped"
    );
    let streams: BTreeSet<&str> = records
        .iter()
        .filter_map(|record| record["stream"].as_str())
        .collect();
    assert_eq!(streams.len(), 1, "one identity over restarts");
    assert_eq!(
        verify(&dir.path().join("var")),
        (0, verify(&dir.path().join("var")).1)
    );
}

/// A journal of one run, with a way to spoil it.
fn spoil(change: impl Fn(&mut Vec<String>)) -> (i32, String) {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .grant(TOKEN, &["crm"])
        .start();
    for _ in 0..4 {
        exchange(&gate.address, call("/rest/crm.deal.list").as_bytes()).unwrap();
    }
    gate.stop();
    assert_eq!(verify(&gate.state_dir()).0, 0, "intact before");
    let path = gate.state_dir().join("audit/00000000000000000001.ndjson");
    let mut lines: Vec<String> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| format!("{line}\n"))
        .collect();
    change(&mut lines);
    fs::write(&path, lines.concat()).unwrap();
    verify(&gate.state_dir())
}

#[test]
fn f32_verify_names_the_first_line_that_does_not_hold() {
    let named = |(code, out): (i32, String), words: &str| {
        assert_eq!(code, 1, "{out}");
        assert!(out.contains(words), "{out:?} does not say {words:?}");
    };
    named(
        spoil(|lines| {
            lines[4] = lines[4]
                .replace("allow", "alloy")
                .replace("ok", "oc")
                .replace("200", "201")
        }),
        "line 5, record 5, does not fit its hash",
    );
    named(
        spoil(|lines| drop(lines.remove(4))),
        "line 5 has number 6 where 5 should follow: 1 missing",
    );
    named(
        spoil(|lines| lines.swap(4, 5)),
        "line 5 has number 6 where 5 should follow",
    );
    named(
        spoil(|lines| lines.insert(4, lines[3].clone())),
        "line 5 has number 4 where 5 should follow: it stands twice",
    );
    named(spoil(|lines| lines[4].truncate(40)), "line 5");
    named(
        spoil(|lines| lines[4] = lines[4].replace("\"hash\":\"", "\"hash\":\"0")),
        "line 5",
    );
    named(
        spoil(|lines| {
            let last = lines.len() - 1;
            lines[last].pop();
        }),
        "is no whole record",
    );
}

#[test]
fn a_torn_tail_is_cut_and_declared_and_open_decisions_are_closed() {
    let portal = Portal::scripted(|_| Reply::Hang(Vec::new()));
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = Setup::before(&portal.address).grant(TOKEN, &["crm"]);
    let mut gate = Gate::start_in(&dir, &setup);
    let mut client = Client::connect(&gate.address);
    client.send(call("/rest/crm.deal.list").as_bytes());
    while portal.received().is_empty() {
        std::thread::yield_now();
    }
    gate.kill();
    let path = gate.state_dir().join("audit/00000000000000000001.ndjson");
    let torn = b"{\"event_kind\":\"call.decision\",\"seq\":4,\"ev";
    fs::write(&path, [fs::read(&path).unwrap().as_slice(), torn].concat()).unwrap();
    assert_eq!(verify(&gate.state_dir()).0, 1);
    let mut gate = Gate::start_in(&dir, &setup);
    gate.stop();
    let recovered = &gate.records_of("audit.recovered")[0];
    assert_eq!(
        (&recovered["cut_bytes"], &recovered["open_decisions"]),
        (&torn.len().into(), &1.into())
    );
    let decision = &gate.records_of("call.decision")[0];
    let end = &gate.records_of("call.completion")[0];
    assert_eq!(
        (&end["event_group"], &end["outcome"]),
        (&decision["event_group"], &"outcome_unknown".into())
    );
    assert_eq!(verify(&gate.state_dir()).0, 0);
}

#[test]
fn a_journal_that_was_changed_is_not_continued() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address).start();
    gate.stop();
    let path = gate.state_dir().join("audit/00000000000000000001.ndjson");
    fs::write(
        &path,
        fs::read_to_string(&path)
            .unwrap()
            .replacen("portal", "partal", 1),
    )
    .unwrap();
    let config = gate.state_dir().join("../grantgate.toml");
    let (code, _, err) = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(
        err.contains("cannot be continued") && err.contains("audit verify"),
        "{err}"
    );
}

/// What could not be declared before the end is declared at the next start, once; what somebody else left there is not.
#[test]
fn a_gap_that_was_left_is_declared_at_the_next_start() {
    let portal = Portal::start();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = Setup::before(&portal.address).grant(TOKEN, &["crm"]);
    Gate::start_in(&dir, &setup).stop();
    let left = dir.path().join("var/audit/.undeclared");
    let time = "2026-01-01T00:00:00.000000000Z";
    let gap = format!(",\"event_id\":\"x\",\"lost\":7,\"first\":\"{time}\",\"cause\":\"the disk\"");
    for (text, declared) in [
        (gap.clone(), 1),
        (gap.replace(",\"lost\"", ",\n\"lost\""), 1),
    ] {
        fs::write(&left, text).unwrap();
        let mut gate = Gate::start_in(&dir, &setup);
        gate.stop();
        let gaps = gate.records_of("audit.gap");
        assert_eq!(gaps.len(), declared);
        assert_eq!(gaps[0]["lost"], 7);
        assert_eq!(verify(&gate.state_dir()).0, 0);
    }
    let mut again = Gate::start_in(&dir, &setup);
    again.stop();
    assert_eq!(again.records_of("audit.gap").len(), 1, "once");
}

/// F09: a state directory belongs to one process.
#[test]
fn f09_a_second_process_on_the_same_state_is_refused() {
    let portal = Portal::start();
    let gate = Setup::before(&portal.address).start();
    let config = gate.state_dir().join("../grantgate.toml");
    let (code, _, err) = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(err.contains("in use by another process"), "{err}");
}

/// A full disk: refused with 503 in `enforce`, red, and green again once there is space. Needs a mount, and says so.
#[test]
fn a_journal_that_cannot_be_written_refuses_and_recovers() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let state = dir.path().join("var");
    fs::create_dir(&state).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&state)
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        println!("skipped: a small file system cannot be mounted here");
        return;
    }
    let _unmount = Unmount(state.clone());
    let portal = Portal::start();
    let setup = Setup::before(&portal.address)
        .section("[audit]\nreserve_mib = 0")
        .grant(TOKEN, &["crm"]);
    let mut gate = Gate::start_in(&dir, &setup);
    assert_eq!(gate.admin("/readyz").status, 200);
    let filler = state.join("filler");
    let mut size = 0;
    while fs::write(&filler, vec![0; size + 4096]).is_ok() {
        size += 4096;
    }
    let mut refused = None;
    for _ in 0..200 {
        let answer = exchange(&gate.address, call("/rest/crm.deal.list").as_bytes()).unwrap();
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let answer = refused.expect("the disk is full");
    assert_eq!((answer.status, answer.reason()), (503, "audit_unavailable"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(gate.admin("/readyz").status, 503);
    assert!(gate.admin("/readyz").text().contains("journal"));
    assert_eq!(gate.admin("/healthz").status, 200);
    portal.take();
    assert_eq!(
        exchange(&gate.address, call("/rest/crm.deal.list").as_bytes())
            .unwrap()
            .status,
        503
    );
    assert_eq!(
        portal.received(),
        [],
        "nothing is forwarded without its record"
    );
    fs::remove_file(&filler).unwrap();
    while gate.admin("/readyz").status != 200 {
        std::thread::yield_now();
    }
    assert_eq!(
        exchange(&gate.address, call("/rest/crm.deal.list").as_bytes())
            .unwrap()
            .status,
        200
    );
    gate.stop();
    assert_eq!(verify(&gate.state_dir()).0, 0);
    let lost: u64 = gate
        .records_of("audit.gap")
        .iter()
        .map(|record| record["lost"].as_u64().unwrap())
        .sum();
    assert!(
        lost >= 2,
        "the records of the refused calls are declared lost: {lost}"
    );
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}
