//! What real client libraries send: every single v2 call arrives as it was sent, is read as it was meant, and is
//! refused exactly where a scope that it needs is taken away.

mod support;

use std::collections::BTreeSet;

use grantgate::catalogue::Catalogue;
use grantgate::model::{ApiVersion, Requirement, ScopeSet};
use grantgate::vendor::Vendor;
use serde_json::Value;
use support::gate::Setup;
use support::{Answer, Portal, Received, exchange};

const CAPTURES: [&str; 3] = [
    include_str!("captures/bx_b24pysdk.oauth.jsonl"),
    include_str!("captures/bx_b24pysdk.webhook.jsonl"),
    include_str!("captures/bx_b24jssdk.oauth.jsonl"),
];

/// Header fields that the contract removes or rewrites.
const REWRITTEN: [&str; 5] = [
    "host",
    "connection",
    "keep-alive",
    "content-length",
    "transfer-encoding",
];

struct Capture {
    operation: String,
    target: String,
    method: String,
    location: Option<&'static str>,
    bytes: Vec<u8>,
    headers: Vec<(String, String)>,
    body: String,
}

/// The single v2 calls among the captures.
fn captures() -> Vec<Capture> {
    let lines = CAPTURES.iter().flat_map(|file| file.lines());
    lines
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| capture(&line))
        .collect()
}

fn capture(line: &Value) -> Option<Capture> {
    let parsed = &line["parsed"];
    let operation = parsed["op"].as_str().unwrap();
    if parsed["api"] != "v2" || operation.eq_ignore_ascii_case("batch") {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (method, target, body) = (
        text(&line["method"]),
        text(&line["target"]),
        text(&line["body"]),
    );
    let headers: Vec<(String, String)> = line["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| (text(&pair[0]), text(&pair[1])))
        .collect();
    let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &headers {
        bytes.extend(format!("{name}: {}\r\n", value.replace("PORT", "80")).into_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_bytes());
    let location = match parsed["tokens"][0][0].as_str().unwrap() {
        "json:auth" => Some("json"),
        "query:auth" => Some("query"),
        "path:webhook" => Some("path"),
        other => panic!("an unknown place: {other}"),
    };
    Some(Capture {
        operation: operation.to_owned(),
        target,
        method,
        location,
        bytes,
        headers,
        body,
    })
}

fn catalogue() -> Catalogue {
    Catalogue::parse(Vendor::Bitrix24.bundled_catalogue()).unwrap()
}

fn granted(setup: Setup, scopes: &[&str]) -> Setup {
    setup.grant("at-1", scopes).grant("1/hooksecret", scopes)
}

/// The header fields less those that the contract rewrites: a multiset with the order kept within a name.
fn kept(headers: &[(String, String)]) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| !REWRITTEN.contains(&name.as_str()))
        .collect();
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    kept
}

fn assert_unchanged(capture: &Capture, received: &Received) {
    assert_eq!(received.method, capture.method);
    assert_eq!(received.target, capture.target);
    assert_eq!(
        String::from_utf8_lossy(&received.body),
        capture.body,
        "{}",
        capture.target
    );
    assert_eq!(
        kept(&received.headers),
        kept(&capture.headers),
        "{}",
        capture.target
    );
}

fn send(gate: &support::Gate, capture: &Capture) -> Answer {
    exchange(&gate.address, &capture.bytes).unwrap()
}

#[test]
fn every_call_arrives_unchanged_with_all_scopes() {
    let catalogue = catalogue();
    let all: Vec<&str> = catalogue
        .scopes()
        .iter()
        .map(|info| info.code.as_ref())
        .collect();
    for mode in ["enforce", "report", "off"] {
        let portal = Portal::start();
        let mut gate = granted(Setup::before(&portal.address), &all)
            .with(&format!("mode = \"{mode}\""))
            .start();
        let captures = captures();
        assert_eq!(captures.len(), 24, "single calls among the captures");
        for capture in &captures {
            let answer = send(&gate, capture);
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, r#"{"result":true}"#),
                "{}",
                capture.target
            );
            assert!(answer.header("grantgate-decision").is_some());
            assert!(answer.header("grantgate-reason").is_none());
            let received = portal.take();
            assert_eq!(received.len(), 1, "{}", capture.target);
            assert_unchanged(capture, &received[0]);
        }
        assert_eq!(gate.stop().code(), Some(0));
        for (capture, record) in captures.iter().zip(gate.records_of("call.decision")) {
            let operation = catalogue.find(ApiVersion::V2, &capture.operation).unwrap();
            assert_eq!(
                record["operation"].as_str(),
                Some(operation.name.as_ref()),
                "read as meant"
            );
            assert_eq!(record["token"]["location"].as_str(), capture.location);
            let expected = if mode == "off" {
                "not_evaluated"
            } else {
                "allow"
            };
            assert_eq!(record["decision"], expected, "{record}");
        }
    }
}

#[test]
fn with_a_scope_taken_away_exactly_the_calls_that_need_it_are_refused() {
    let catalogue = catalogue();
    let all: BTreeSet<&str> = catalogue
        .scopes()
        .iter()
        .map(|info| info.code.as_ref())
        .collect();
    let captures = captures();
    let needs = |capture: &Capture| -> Requirement {
        catalogue
            .find(ApiVersion::V2, &capture.operation)
            .unwrap()
            .requirement
            .clone()
    };
    let mut refused_ever = 0;
    for taken in ["crm", "telephony", "task", "user"] {
        let held: Vec<&str> = all
            .iter()
            .copied()
            .filter(|scope| *scope != taken)
            .collect();
        let set: ScopeSet = held.iter().copied().collect();
        let portal = Portal::start();
        let gate = granted(Setup::before(&portal.address), &held).start();
        for capture in &captures {
            let open = match needs(capture) {
                Requirement::NoScope => true,
                Requirement::AnyOf(sets) => sets.iter().any(|one| set.covers(one)),
                Requirement::Conditional(_) | Requirement::Unknown => false,
            };
            let answer = send(&gate, capture);
            let received = portal.take();
            if open {
                assert_eq!(
                    (answer.status, received.len()),
                    (200, 1),
                    "{} without {taken}",
                    capture.target
                );
                continue;
            }
            refused_ever += 1;
            assert_eq!(
                (answer.status, received.len()),
                (403, 0),
                "{} without {taken}",
                capture.target
            );
            assert_eq!(answer.json()["error"], "insufficient_scope");
            assert!(
                answer.json()["error_description"]
                    .as_str()
                    .unwrap()
                    .contains(taken)
            );
            assert_eq!(answer.reason(), "scope_missing");
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{taken}\"");
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
        }
    }
    assert_eq!(refused_ever, 20, "calls that need one of the four scopes");
}

#[test]
fn what_is_not_built_is_refused_in_enforce_and_forwarded_in_report() {
    let lines = CAPTURES.iter().flat_map(|file| file.lines());
    let others: Vec<Value> = lines
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(capture_is_other)
        .collect();
    assert!(others.len() >= 8);
    for (mode, status, reached) in [("enforce", 403, 0), ("report", 200, 1)] {
        let portal = Portal::start();
        let mut gate = granted(
            Setup::before(&portal.address),
            &["crm", "task", "tasks", "main"],
        )
        .with(&format!("mode = \"{mode}\""))
        .with("unlisted_operation = \"forward\"")
        .start();
        for line in &others {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let mut bytes = format!(
                "{} {} HTTP/1.1\r\n",
                text(&line["method"]),
                text(&line["target"])
            )
            .into_bytes();
            for pair in line["headers"].as_array().unwrap() {
                bytes.extend(
                    format!(
                        "{}: {}\r\n",
                        text(&pair[0]),
                        text(&pair[1]).replace("PORT", "80")
                    )
                    .bytes(),
                );
            }
            bytes.extend(b"\r\n");
            bytes.extend(text(&line["body"]).bytes());
            let answer = exchange(&gate.address, &bytes).unwrap();
            assert_eq!(
                (answer.status, portal.take().len()),
                (status, reached),
                "{}",
                line["target"]
            );
            if status == 403 {
                let v3 = line["parsed"]["api"] == "v3";
                let code = if v3 {
                    answer.json()["error"]["code"].clone()
                } else {
                    answer.json()["error"].clone()
                };
                let native = if v3 {
                    "BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION"
                } else {
                    "ACCESS_DENIED"
                };
                assert_eq!(code, native);
            }
        }
        gate.stop();
        for record in gate.records_of("call.decision") {
            assert_eq!(record["reason"], "operation_unlisted");
        }
    }
}

fn capture_is_other(line: &Value) -> bool {
    let parsed = &line["parsed"];
    parsed["api"] == "v3" || parsed["op"] == "batch"
}
