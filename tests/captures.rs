//! What real client libraries send: every call and batch arrives as it was sent, is read as it was meant, and is
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
    version: ApiVersion,
    operation: String,
    /// Keys and methods of a batch's commands.
    commands: Vec<(String, String)>,
    target: String,
    method: String,
    location: Option<&'static str>,
    bytes: Vec<u8>,
    headers: Vec<(String, String)>,
    body: String,
}

/// The calls and batches among the captures, of both versions of the API.
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
    if parsed["grant"] != Value::Null {
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
    let commands = parsed["commands"].as_array().unwrap().iter();
    let commands = commands
        .map(|command| (text(&command[0]), text(&command[1])))
        .collect();
    Some(Capture {
        version: if parsed["api"] == "v3" {
            ApiVersion::V3
        } else {
            ApiVersion::V2
        },
        operation: operation.to_owned(),
        commands,
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
        assert_eq!(captures.len(), 38, "calls and batches among the captures");
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
            let operation = catalogue.find(capture.version, &capture.operation).unwrap();
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

/// True if a token with these scopes may call the operation.
fn opens(catalogue: &Catalogue, version: ApiVersion, name: &str, held: &ScopeSet) -> bool {
    match &catalogue.find(version, name).unwrap().requirement {
        Requirement::Open | Requirement::NoScope => true,
        Requirement::AnyOf(sets) => sets.iter().any(|one| held.covers(one)),
        Requirement::Conditional(_) | Requirement::Unknown => false,
    }
}

#[test]
fn with_a_scope_taken_away_exactly_what_needs_it_is_refused() {
    let catalogue = catalogue();
    let all: BTreeSet<&str> = catalogue
        .scopes()
        .iter()
        .map(|info| info.code.as_ref())
        .collect();
    let (mut refused, mut divided) = (0, 0);
    for taken in ["crm", "telephony", "task", "user", "tasks", "main"] {
        let held: Vec<&str> = all
            .iter()
            .copied()
            .filter(|scope| *scope != taken)
            .collect();
        let set: ScopeSet = held.iter().copied().collect();
        let portal = Portal::start();
        let gate = granted(Setup::before(&portal.address), &held).start();
        for capture in &captures() {
            let name = format!("{} without {taken}", capture.target);
            let open = |operation: &str| opens(&catalogue, capture.version, operation, &set);
            let answer = send(&gate, capture);
            let received = portal.take();
            let kept: Vec<&str> = capture
                .commands
                .iter()
                .filter(|(_, method)| open(method))
                .map(|(key, _)| key.as_str())
                .collect();
            let whole = open(&capture.operation) && kept.len() == capture.commands.len();
            if whole {
                assert_eq!((answer.status, received.len()), (200, 1), "{name}");
                continue;
            }
            if !kept.is_empty() && capture.version == ApiVersion::V2 {
                divided += 1;
                assert_eq!((answer.status, received.len()), (200, 1), "{name}");
                assert_eq!(commands(&received[0]), kept, "{name}");
                assert_eq!(received[0].header("accept-encoding"), Some("identity"));
                continue;
            }
            assert_eq!(received.len(), 0, "{name}");
            if !capture.commands.is_empty() && capture.version == ApiVersion::V2 {
                assert_eq!(
                    (answer.status, answer.reason()),
                    (200, "batch_member_denied")
                );
                let errors = answer.json()["result"]["result_error"].clone();
                let halts =
                    capture.body.contains("\"halt\":1") || capture.body.contains("\"halt\": true");
                let said = if halts { 1 } else { capture.commands.len() };
                assert_eq!(entries(&errors), said, "{name}: {errors}");
                continue;
            }
            refused += 1;
            assert_eq!(answer.status, 403, "{name}");
            let body = answer.json();
            let (code, text) = if capture.version == ApiVersion::V3 {
                (&body["error"]["code"], &body["error"]["message"])
            } else {
                (&body["error"], &body["error_description"])
            };
            let native = if capture.version == ApiVersion::V3 {
                "BITRIX_REST_V3_EXCEPTION_INSUFFICIENTSCOPEEXCEPTION"
            } else {
                "insufficient_scope"
            };
            assert_eq!(code, native, "{name}");
            assert!(text.as_str().unwrap().contains(taken), "{name}");
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{taken}\"");
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
        }
    }
    assert_eq!(
        (refused, divided),
        (25, 6),
        "single calls refused, batches divided"
    );
}

/// The keys of the commands that arrived.
fn commands(received: &Received) -> Vec<String> {
    let body: Value = serde_json::from_slice(&received.body).unwrap();
    let keys = body["cmd"].as_object().expect("keys are written out");
    let mut keys: Vec<String> = keys.keys().cloned().collect();
    keys.sort();
    keys
}

/// How many entries an array of PHP has.
fn entries(array: &Value) -> usize {
    array
        .as_object()
        .map_or_else(|| array.as_array().unwrap().len(), |map| map.len())
}
