//! One call found again: in the answer, the journal, the process log and, with the feature `otlp`, a trace.

mod support;

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::gate::{PROGRAM, Setup};
use support::{Portal, exchange};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn call(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer T0ken\r\nx-request-id: app-17\r\n\
         traceparent: 00-{TRACE}-{SPAN}-01\r\n\r\n"
    )
}

#[test]
fn answer_record_and_log_name_the_same_call() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .grant("T0ken", &["crm"])
        .start();
    let calls = [
        ("/rest/crm.deal.list", "allow"),
        ("/rest/task.item.list", "deny"),
    ];
    let ids = calls.map(|(target, _)| {
        let answer = exchange(&gate.address, call(target).as_bytes()).unwrap();
        answer.header("grantgate-decision").unwrap().to_owned()
    });
    // As it came: without the feature nothing is added to a trace.
    #[cfg(not(feature = "otlp"))]
    assert_eq!(
        portal.received()[0].header("traceparent"),
        Some(format!("00-{TRACE}-{SPAN}-01").as_str())
    );
    // The log is whole once the gate has ended.
    gate.stop();
    assert_eq!(gate.log().matches("a call has ended").count(), 2);
    for ((target, verdict), id) in calls.iter().zip(&ids) {
        let log = gate.log();
        let line = log
            .lines()
            .find(|line| line.contains("a call is decided") && line.contains(id))
            .unwrap();
        for words in [*verdict, "request_id=\"app-17\"", TRACE, &target[6..]] {
            assert!(line.contains(words), "{words} in {line}");
        }
        assert!(!line.contains("T0ken"), "{line}");
    }
    for record in gate.records_of("call.decision") {
        assert_eq!(record["client_request_id"], "app-17");
        assert_eq!(
            (&record["trace_id"], &record["span_id"]),
            (&json!(TRACE), &json!(SPAN))
        );
        let id = record["event_id"].as_str().unwrap();
        assert_eq!(
            gate.log().matches(&format!("decision={id}")).count(),
            2,
            "decided and ended"
        );
    }
}

#[test]
fn what_is_no_trace_is_not_recorded() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .grant("T0ken", &["crm"])
        .start();
    let request = call("/rest/crm.deal.list").replace(TRACE, "SECRET");
    exchange(&gate.address, request.as_bytes()).unwrap();
    gate.stop();
    let record = &gate.records_of("call.decision")[0];
    assert_eq!(record["trace_id"], Value::Null);
    assert!(!support::gate::journal_text(&gate.state_dir()).contains("SECRET"));
}

/// The program by itself, as a supervisor starts it.
fn supervised(dir: &std::path::Path, envs: &[(&str, &str)]) -> std::process::Child {
    let text = format!(
        "[state]\ndir = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n[[gate]]\nname = \"portal\"\nvendor = \"bitrix24\"\n\
         listen = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:9\"\n",
        dir.join("var")
    );
    let path = dir.join("grantgate.toml");
    std::fs::write(&path, text).unwrap();
    Command::new(PROGRAM)
        .args(["serve", "--log-json", "--config"])
        .arg(&path)
        .envs(envs.iter().copied())
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_supervisor_is_told_and_the_log_is_json() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    let mut child = supervised(dir.path(), &[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    let mut buffer = [0; 64];
    let mut hear = || {
        let length = told.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(hear(), "READY=1");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(hear(), "STOPPING=1");
    let lines: Vec<Value> = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let ready = lines
        .iter()
        .find(|line| line["fields"]["message"] == "ready")
        .unwrap();
    assert_eq!(ready["level"], "INFO");
    assert!(ready["timestamp"].is_string() && ready["target"] == "grantgate::app");
}

#[cfg(feature = "otlp")]
mod otlp {
    use super::*;
    use support::portal::{Reply, ok};

    #[test]
    fn a_call_is_a_span_between_the_apps_and_the_vendors() {
        let portal = Portal::start();
        let collector = Portal::scripted(|_| Reply::Bytes(ok("")));
        let mut setup = Setup::before(&portal.address).grant("T0ken", &["crm"]);
        let endpoint = format!("http://{}", collector.address);
        setup
            .env
            .insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint);
        let mut gate = setup.start();
        let answer = exchange(&gate.address, call("/rest/crm.deal.list").as_bytes()).unwrap();
        let id = answer.header("grantgate-decision").unwrap().to_owned();
        let sent = portal.received()[0]
            .header("traceparent")
            .unwrap()
            .to_owned();
        assert!(
            sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-01"),
            "{sent}"
        );
        assert!(!sent.contains(SPAN), "it names the gate's span: {sent}");
        exchange(&gate.address, call("/rest/task.item.list").as_bytes()).unwrap();
        // What is there at the end is sent first.
        gate.stop();
        let received = collector.received();
        let bytes: Vec<u8> = received
            .iter()
            .flat_map(|request| request.body.clone())
            .collect();
        assert!(
            received
                .iter()
                .all(|request| request.target == "/v1/traces")
        );
        assert_eq!(
            received[0].header("content-type"),
            Some("application/x-protobuf")
        );
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                .collect()
        };
        for part in [
            hex(TRACE).as_slice(),
            hex(SPAN).as_slice(),
            hex(&sent[36..52]).as_slice(),
            b"crm.deal.list",
            b"task.item.list",
            b"scope_missing",
            b"not_forwarded",
            id.as_bytes(),
            b"grantgate.decision_id",
        ] {
            assert!(holds(part), "{}", String::from_utf8_lossy(part));
        }
        assert!(!holds(b"T0ken"));
        assert!(
            !gate.log().contains("grantgate::span"),
            "the log leaves spans out"
        );
    }

    #[test]
    fn a_collector_that_is_gone_holds_nothing_up() {
        let portal = Portal::start();
        let mut setup = Setup::before(&portal.address).grant("T0ken", &["crm"]);
        let endpoint = "http://127.0.0.1:9".to_owned();
        setup
            .env
            .insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint);
        let mut gate = setup.start();
        let answer = exchange(&gate.address, call("/rest/crm.deal.list").as_bytes()).unwrap();
        assert_eq!(answer.status, 200);
        assert!(gate.stop().success());
    }

    #[test]
    fn an_empty_variable_names_no_collector() {
        let portal = Portal::start();
        let mut setup = Setup::before(&portal.address).grant("T0ken", &["crm"]);
        setup
            .env
            .insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), String::new());
        let mut gate = setup.start();
        let answer = exchange(&gate.address, call("/rest/crm.deal.list").as_bytes()).unwrap();
        assert_eq!(answer.status, 200);
        assert!(gate.stop().success());
    }
}
