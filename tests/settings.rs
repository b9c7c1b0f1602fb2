//! What the settings of a gate do: modes, rules, grants, unknown tokens, limits, TLS.

mod support;

use std::io::{Read, Write};

use support::gate::{Setup, run};
use support::portal::{Reply, ok};
use support::{Answer, Client, Gate, Portal, exchange};

fn call(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: gate\r\n\r\n")
}

fn ask(gate: &Gate, target: &str) -> Answer {
    exchange(&gate.address, call(target).as_bytes()).unwrap()
}

/// The words of each decision so far: decision, mode and reason.
fn decided(gate: &Gate) -> Vec<String> {
    let word = |record: &serde_json::Value, field: &str| record[field].as_str().unwrap().to_owned();
    let records = gate.records_of("call.decision");
    records
        .iter()
        .map(|r| {
            format!(
                "{} {} {}",
                word(r, "decision"),
                word(r, "mode"),
                word(r, "reason")
            )
        })
        .collect()
}

#[test]
fn report_forwards_and_says_what_it_would_have_refused() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .with("mode = \"report\"")
        .grant("T", &["crm"])
        .start();
    let targets = [
        "/rest/crm.deal.list?auth=T",
        "/rest/task.item.list?auth=T",
        "/rest/crm.deal.list?auth=T&auth=T",
        "/rest/crm.deal.list",
        "/rest/crm.deal.list?auth=other",
        "/rest/a/b?method=x",
        "/rest/%63rm.deal.list?auth=T",
        "/elsewhere",
    ];
    for target in targets {
        assert_eq!(ask(&gate, target).status, 200, "{target}");
    }
    let seen: Vec<String> = portal
        .received()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(seen, targets, "byte for byte");
    gate.stop();
    assert_eq!(
        decided(&gate),
        [
            "allow report permitted",
            "would_deny report scope_missing",
            "would_deny report ambiguous_credential",
            "would_deny report credential_missing",
            "would_deny report token_unknown",
            "would_deny report ambiguous_operation",
            "would_deny report ambiguous_operation",
            "would_deny report credential_missing",
        ]
    );
}

#[test]
fn report_passes_bodies_that_nobody_could_judge() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .with("mode = \"report\"")
        .section("[limits]\ninspected_body_mib = 1\ninspected_total_mib = 1")
        .grant("T", &["crm"])
        .start();
    let big = "x".repeat(3 << 20);
    let bodies = [
        ("application/json", "{\"auth\":\"T\"".to_owned()),
        (
            "application/json",
            format!("{{\"auth\":\"T\",\"file\":\"{big}\"}}"),
        ),
        (
            "multipart/form-data; boundary=b",
            "--b\r\n\r\nx\r\n--b--\r\n".to_owned(),
        ),
        ("text/plain", "auth=T".to_owned()),
    ];
    for (kind, body) in &bodies {
        let length = body.len();
        let request = format!(
            "POST /rest/crm.deal.add HTTP/1.1\r\nhost: gate\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        assert_eq!(
            exchange(&gate.address, request.as_bytes()).unwrap().status,
            200,
            "{kind}"
        );
        let received = portal.take();
        assert!(received[0].body == body.as_bytes(), "{kind}: unchanged");
    }
    gate.stop();
    assert_eq!(
        decided(&gate),
        [
            "would_deny report ambiguous_body",
            "error_allow report body_over_cap",
            "would_deny report ambiguous_body",
            "would_deny report ambiguous_body",
        ]
    );
}

#[test]
fn a_body_over_the_cap_is_413_where_the_gate_enforces() {
    let portal = Portal::start();
    let gate = Setup::before(&portal.address)
        .section("[limits]\ninspected_body_mib = 1")
        .grant("T", &["crm"])
        .start();
    for framing in [
        "content-length: 2000000\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n1e8480\r\n",
    ] {
        let body = format!("{{\"auth\":\"T\",\"x\":\"{}\"}}", "x".repeat(1_999_978));
        let request = format!(
            "POST /rest/crm.deal.add HTTP/1.1\r\nhost: gate\r\ncontent-type: application/json\r\n{framing}{body}"
        );
        let answer = exchange(&gate.address, request.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.reason()), (413, "body_over_cap"));
    }
    assert_eq!(portal.received(), []);
}

#[test]
fn off_forwards_and_records() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .with("mode = \"off\"")
        .start();
    assert_eq!(ask(&gate, "/rest/crm.deal.list?auth=x").status, 200);
    gate.stop();
    assert_eq!(decided(&gate), ["not_evaluated off token_unknown"]);
}

#[test]
fn rules_are_narrower_than_the_grant_and_the_first_match_wins() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .grant("T", &["crm", "user"])
        .rule("operations = [\"crm.lead.delete\"]\nmode = \"report\"")
        .rule("operations = [\"crm.*.DELETE\", \"user.add\"]\neffect = \"refuse\"")
        .rule("operations = [\"task.*\"]\nmode = \"report\"")
        .start();
    let statuses: Vec<u16> = [
        "crm.deal.delete",
        "crm.lead.delete",
        "CRM.Contact.Delete",
        "crm.deal.list",
        "user.add",
        "task.item.list",
    ]
    .into_iter()
    .map(|method| ask(&gate, &format!("/rest/{method}?auth=T")).status)
    .collect();
    assert_eq!(statuses, [403, 200, 403, 200, 403, 200]);
    let answer = ask(&gate, "/rest/crm.deal.delete?auth=T");
    assert_eq!(
        (answer.json()["error"].as_str(), answer.reason()),
        (Some("ACCESS_DENIED"), "rule_refused")
    );
    gate.stop();
    assert_eq!(
        decided(&gate)[..6],
        [
            "deny enforce rule_refused",
            "allow report permitted",
            "deny enforce rule_refused",
            "allow enforce permitted",
            "deny enforce rule_refused",
            "would_deny report scope_missing",
        ]
    );
    let rules: Vec<_> = gate
        .records_of("call.decision")
        .iter()
        .map(|r| r["policy"]["rule_id"].as_u64())
        .collect();
    assert_eq!(
        rules[..6],
        [Some(1), Some(0), Some(1), None, Some(1), Some(2)]
    );
}

#[test]
fn assume_lets_every_token_hold_the_scopes_of_the_app() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .with("unknown_token = \"assume\"\nassumed_scopes = [\"crm\"]")
        .grant("known", &["task"])
        .start();
    let status = |target: &str| ask(&gate, target).status;
    assert_eq!(status("/rest/crm.deal.list?auth=any"), 200);
    assert_eq!(status("/rest/task.item.list?auth=any"), 403);
    assert_eq!(
        status("/rest/task.item.list?auth=known"),
        200,
        "a declared grant is known better"
    );
    assert_eq!(status("/rest/crm.deal.list?auth=known"), 403);
    assert_eq!(status("/rest/crm.deal.list"), 401);
    gate.stop();
    let sources: Vec<_> = gate
        .records_of("call.decision")
        .iter()
        .map(|r| r["grant"]["source"].clone())
        .collect();
    assert_eq!(sources[..4], ["assumed", "assumed", "config", "config"]);
}

#[test]
fn a_forward_setting_in_enforce_is_an_allow_with_the_reason_it_overrode() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .with("unknown_token = \"forward\"\nunlisted_operation = \"forward\"")
        .grant("T", &["crm"])
        .start();
    for (target, status) in [
        ("/rest/crm.deal.list?auth=other", 200),
        ("/rest/no.such.method?auth=T", 200),
        ("/rest/task.item.list?auth=T", 403),
        ("/rest/crm.deal.list", 401),
        ("/rest/batch?auth=T&cmd[]=crm.deal.list", 200),
        ("/rest/batch?auth=T&cmd[]=http:crm.deal.list", 400),
        ("/rest/userfieldconfig.list?auth=T", 403),
    ] {
        assert_eq!(ask(&gate, target).status, status, "{target}");
    }
    gate.stop();
    assert_eq!(
        decided(&gate)[..3],
        [
            "allow enforce token_unknown",
            "allow enforce operation_unlisted",
            "deny enforce scope_missing",
        ]
    );
}

#[test]
fn an_expired_grant_is_the_portals_own_expired_token() {
    let portal = Portal::start();
    let mut setup = Setup::before(&portal.address);
    setup.after =
        "[[gate.grant]]\ntoken = \"T\"\nscopes = [\"crm\"]\nexpires = \"2020-01-01T00:00:00Z\"\n"
            .into();
    let gate = setup.start();
    let answer = ask(&gate, "/rest/crm.deal.list?auth=T");
    assert_eq!((answer.status, answer.reason()), (401, "token_expired"));
    assert_eq!(answer.json()["error"], "expired_token");
    assert_eq!(answer.header("www-authenticate"), None);
}

#[test]
fn calls_on_one_connection_are_answered_in_order_and_upstream_connections_are_kept() {
    let portal = Portal::scripted(|request| Reply::Bytes(ok(&format!("{:?}", request.target))));
    let gate = Setup::before(&portal.address).grant("T", &["crm"]).start();
    let mut client = Client::connect(&gate.address);
    for number in 0..50 {
        let (target, status) = match number % 2 {
            0 => (format!("/rest/crm.deal.list?auth=T&n={number}"), 200),
            _ => (format!("/rest/task.item.list?auth=T&n={number}"), 403),
        };
        let answer = client.send(call(&target).as_bytes()).answer().unwrap();
        assert_eq!(answer.status, status);
        assert!(status != 200 || answer.text().contains(&target));
    }
    let metrics = gate.admin("/metrics").text();
    assert!(
        metrics.contains("grantgate_upstream_connections_total{gate=\"portal\"} 1"),
        "{metrics}"
    );
    for line in [
        "grantgate_calls_total{gate=\"portal\",decision=\"allow\",reason=\"permitted\",operation=\"crm.deal.list\"} 25",
        "grantgate_calls_total{gate=\"portal\",decision=\"deny\",reason=\"scope_missing\",operation=\"task.item.list\"} 25",
        "grantgate_connections{gate=\"portal\"} 1",
        "grantgate_added_seconds_count{gate=\"portal\"} 25",
        "grantgate_upstream_seconds_count{gate=\"portal\"} 25",
        "grantgate_journal_writable 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

/// TLS on both sides, with certificates of `grantgate certs`, against the emulator.
#[test]
fn tls_is_spoken_on_both_sides() {
    let certs = tempfile::tempdir().unwrap();
    let (code, _, err) = run(&["certs", "--out", certs.path().to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    let path = |name: &str| certs.path().join(name).display().to_string();
    let ready = certs.path().join("ready");
    let mut emulator = std::process::Command::new(support::gate::PROGRAM)
        .args([
            "emulate",
            "bitrix24",
            "--listen",
            "127.0.0.1:0",
            "--token",
            "T=crm",
            "--tls",
        ])
        .arg(format!("{},{}", path("gate.pem"), path("gate.key")))
        .arg("--ready-file")
        .arg(&ready)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    emulator
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut byte)
        .unwrap();
    let text: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&ready).unwrap()).unwrap();
    let address = text["gates"]["bitrix24"].as_str().unwrap();
    let port = address.rsplit(':').next().unwrap();
    let mut setup = Setup::before("");
    setup.gate = format!(
        "upstream = \"https://localhost:{port}\"\nupstream_ca = {:?}\ntls = {{ cert = {:?}, key = {:?} }}\n",
        path("ca.pem"),
        path("gate.pem"),
        path("gate.key")
    );
    let gate = setup.grant("T", &["crm", "task"]).start();
    let trusted = std::fs::read(path("ca.pem")).unwrap();
    assert!(
        https(&gate.address, &trusted, "/rest/crm.deal.list?auth=T").starts_with("HTTP/1.1 200")
    );
    let refused = https(&gate.address, &trusted, "/rest/user.get?auth=T");
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("missing scope"),
        "{refused}"
    );
    let upstreams_own = https(&gate.address, &trusted, "/rest/task.item.list?auth=T");
    assert!(
        upstreams_own.starts_with("HTTP/1.1 403") && !upstreams_own.contains("grantgate-reason"),
        "{upstreams_own}"
    );
    emulator.kill().unwrap();
    emulator.wait().unwrap();
}

fn https(address: &str, ca: &[u8], target: &str) -> String {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca).unwrap())
        .unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(config.into(), name).unwrap();
    let socket = std::net::TcpStream::connect(address).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    stream
        .write_all(
            format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn token_traffic_goes_to_the_authorization_server_and_nowhere_else() {
    let (portal, server) = (Portal::start(), Portal::start());
    let mut gate = Setup::before(&portal.address)
        .with(&format!(
            "authorization_server = \"http://{}\"",
            server.address
        ))
        .start();
    let target = "/oauth/token/?grant_type=refresh_token&refresh_token=canary-refresh";
    assert_eq!(ask(&gate, target).status, 200);
    let form = "grant_type=refresh_token&refresh_token=canary-refresh&client_secret=canary-secret";
    let length = form.len();
    let post = format!(
        "POST /oauth/token HTTP/1.1\r\nhost: gate\r\naccept-encoding: gzip\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{form}"
    );
    assert_eq!(
        exchange(&gate.address, post.as_bytes()).unwrap().status,
        200
    );
    assert_eq!(portal.received(), []);
    let received = server.take();
    assert_eq!(received[0].target, target);
    assert_eq!(received[0].header("host"), Some(server.address.as_str()));
    assert_eq!(received[1].body, form.as_bytes());
    assert_eq!(received[1].header("accept-encoding"), Some("identity"));
    // What a call would say is not said to the authorization server, nor to the portal behind it.
    for door in [
        "auth=T",
        "method=user.get",
        "SEF_APPLICATION_CUR_PAGE_URL=/rest/x",
    ] {
        let answer = ask(&gate, &format!("/oauth/token?{door}"));
        assert_eq!(answer.status, 400, "{door}");
    }
    assert_eq!(server.received(), []);
    gate.stop();
    let record = &gate.records_of("call.decision")[0];
    assert_eq!(record["operation"], "/oauth/token");
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["destination"], server.address);
    let journal = format!("{:?}", gate.records());
    assert!(!journal.contains("canary"), "nothing secret is recorded");
}
