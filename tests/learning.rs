//! Grants that nobody declared: learned from the traffic of the token endpoint, asked for, kept, and forgotten.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::gate::{Setup, run};
use support::portal::{Reply, ok};
use support::{Answer, Client, Emulator, Gate, Portal, exchange, post};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn get(gate: &Gate, target: &str, token: &str) -> Answer {
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {token}\r\n\r\n");
    exchange(&gate.address, request.as_bytes()).unwrap()
}

fn send(gate: &Gate, target: &str, kind: &str, body: &str) -> Answer {
    exchange(&gate.address, &post(target, kind, body)).unwrap()
}

/// What a call with this token comes to: status and reason.
fn told(gate: &Gate, target: &str, token: &str) -> (u16, String) {
    let answer = get(gate, target, token);
    (answer.status, answer.reason().to_owned())
}

fn token(answer: &Answer) -> String {
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

fn refresh(answer: &Answer) -> String {
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

fn metric(gate: &Gate, line: &str) -> f64 {
    let text = gate.admin("/metrics").text();
    let found = text.lines().find_map(|known| known.strip_prefix(line));
    found.map_or(0.0, |value| value.trim().parse().unwrap())
}

const DEALS: &str = "/rest/crm.deal.list";
const TASKS: &str = "/rest/task.item.list";

fn allowed() -> (u16, String) {
    (200, "-".to_owned())
}

fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[test]
fn a_bitrix24_login_and_refresh_teach_by_either_verb() {
    let portal = Emulator::start(&["--token", "first=crm,user_brief"]);
    let mut gate = Setup::before(&portal.address).start();
    assert_eq!(told(&gate, DEALS, "first"), refused(403, "token_unknown"));
    let query =
        "grant_type=refresh_token&client_id=app&client_secret=s&refresh_token=refresh-first";
    // The documented way: GET with a query.
    let answer = get_plain(&gate, &format!("/oauth/token/?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let second = token(&answer);
    assert_eq!(told(&gate, DEALS, &second), allowed());
    assert_eq!(told(&gate, TASKS, &second), refused(403, "scope_missing"));
    // And the other: a form.
    let form = format!(
        "grant_type=refresh_token&client_id=app&client_secret=s&refresh_token={}",
        refresh(&answer)
    );
    let third = token(&send(&gate, "/oauth/token/", FORM, &form));
    assert_eq!(told(&gate, DEALS, &third), allowed());
    // It is not known that the one before has died.
    assert_eq!(told(&gate, DEALS, &second), allowed());
    gate.stop();
    let captured = gate.records_of("token.captured");
    assert_eq!(captured.len(), 2);
    assert_eq!(captured[0]["grant"]["type"], "refresh_token");
    assert_eq!(
        captured[0]["scopes"]["granted"],
        json!(["crm", "user_brief"])
    );
    assert_eq!(captured[0]["subject"]["id"], "1");
    assert_eq!(captured[0]["tenant"], "a223c6b3710f85df22e9377d6c4f7553");
    assert!(captured[0]["grant"]["expires"].as_str().is_some());
    let decided = gate.records_of("call.decision");
    let used = decided
        .iter()
        .find(|record| record["reason"] == "permitted");
    assert_eq!(used.unwrap()["grant"]["source"], "capture");
}

fn get_plain(gate: &Gate, target: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nhost: gate\r\n\r\n");
    exchange(&gate.address, request.as_bytes()).unwrap()
}

const CALLS: &str = "/restapi/v1.0/account/~/extension/~/call-log";
const MESSAGES: &str = "/restapi/v1.0/account/~/extension/~/message-store";

#[test]
fn a_ringcentral_session_lives_and_dies_as_one_on_both_hosts() {
    let platform = Emulator::of("ringcentral", &["--token", "first=ReadCallLog"]);
    // The host of recordings: no login passes it.
    let media = format!(
        "[[gate]]\nname = \"media\"\nvendor = \"ringcentral\"\nlisten = \"127.0.0.1:0\"\nupstream = \"http://{}\"\nlearns_with = \"portal\"\n",
        platform.address
    );
    let setup = Setup {
        after: media,
        ..Setup::before(&platform.address).of("ringcentral")
    };
    let mut gate = setup.start();
    let on_media = |token: &str| {
        let request =
            format!("GET {CALLS} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {token}\r\n\r\n");
        let answer = exchange(&gate.addresses["media"], request.as_bytes()).unwrap();
        (answer.status, answer.reason().to_owned())
    };
    let login = |form: &str| {
        let basic = "YXBwOnM=";
        let request = format!(
            "POST /restapi/oauth/token HTTP/1.1\r\nhost: gate\r\nauthorization: Basic {basic}\r\ncontent-type: {FORM}\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        exchange(&gate.address, request.as_bytes()).unwrap()
    };
    let first =
        login("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c");
    assert_eq!(first.status, 200, "{}", first.text());
    let old = token(&first);
    assert_eq!(told(&gate, CALLS, &old), allowed());
    assert_eq!(told(&gate, MESSAGES, &old), refused(403, "scope_missing"));
    let second = login(&format!(
        "grant_type=refresh_token&refresh_token={}",
        refresh(&first)
    ));
    let new = token(&second);
    // The one before dies at once.
    assert_eq!(told(&gate, CALLS, &old), refused(401, "token_revoked"));
    assert_eq!(told(&gate, CALLS, &new), allowed());
    assert_eq!(on_media(&old), refused(401, "token_revoked"));
    assert_eq!(on_media(&new), allowed());
    let listed: Value = gate.admin("/grants").json();
    assert_eq!(
        listed[1]["grants"],
        json!([]),
        "it stands with the gate that it learns with"
    );
    assert!(
        listed[0]["grants"]
            .as_array()
            .is_some_and(|grants| grants.len() == 2)
    );
    // Revoking by the refresh token ends the session.
    let form = format!("token={}", refresh(&second));
    let basic = format!(
        "POST /restapi/oauth/revoke HTTP/1.1\r\nhost: gate\r\nauthorization: Basic YXBwOnM=\r\ncontent-type: {FORM}\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    assert_eq!(
        exchange(&gate.address, basic.as_bytes()).unwrap().status,
        200
    );
    assert_eq!(told(&gate, CALLS, &new), refused(401, "token_revoked"));
    assert_eq!(on_media(&new), refused(401, "token_revoked"));
    gate.stop();
    let causes: Vec<Value> = gate
        .records_of("grant.revoked")
        .iter()
        .map(|record| record["cause"].clone())
        .collect();
    assert!(causes.contains(&json!("replaced")), "{causes:?}");
    assert!(causes.contains(&json!("revoked")), "{causes:?}");
    let kinds: Vec<Value> = gate
        .records_of("token.captured")
        .iter()
        .map(|record| record["grant"]["type"].clone())
        .collect();
    assert_eq!(kinds, [json!("jwt_bearer"), json!("refresh_token")]);
}

#[test]
fn livechat_logs_in_by_form_and_json_and_revokes_the_pair() {
    let accounts = Emulator::of("livechat", &["--token", "dal:one=chats--all:ro"]);
    let gate = Setup::before(&accounts.address).of("livechat").start();
    let chats = |bearer: &str| {
        let body = "{}";
        let request = format!(
            "POST /v3.6/agent/action/list_chats HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {bearer}\r\ncontent-type: {JSON}\r\ncontent-length: 2\r\n\r\n{body}"
        );
        let answer = exchange(&gate.address, request.as_bytes()).unwrap();
        (answer.status, answer.reason().to_owned())
    };
    assert_eq!(chats("dal:one"), refused(401, "token_unknown"));
    let form = "grant_type=authorization_code&client_id=a&client_secret=s&code=c";
    let one = send(&gate, "/v2/token", FORM, form);
    assert_eq!(one.status, 200, "{}", one.text());
    assert_eq!(chats(&token(&one)), allowed());
    let again =
        json!({"grant_type": "refresh_token", "client_id": "a", "refresh_token": refresh(&one)});
    let two = send(&gate, "/v2/token", JSON, &again.to_string());
    assert_eq!(chats(&token(&two)), allowed());
    let request = format!(
        "DELETE /v2/token HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {}\r\n\r\n",
        token(&two)
    );
    assert_eq!(
        exchange(&gate.address, request.as_bytes()).unwrap().status,
        200
    );
    assert_eq!(chats(&token(&two)), refused(401, "token_revoked"));
    // The vendor ends what is named and its refresh token, not the login's other tokens.
    assert_eq!(chats(&token(&one)), allowed());
    let by_code = format!(
        "DELETE /v2/token?code={} HTTP/1.1\r\nhost: gate\r\n\r\n",
        token(&one)
    );
    exchange(&gate.address, by_code.as_bytes()).unwrap();
    assert_eq!(chats(&token(&one)), refused(401, "token_revoked"));
}

#[test]
fn what_was_learned_outlives_a_restart_and_a_kill() {
    let portal = Emulator::start(&["--token", "T=crm"]);
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = Setup::before(&portal.address);
    let mut gate = Gate::start_in(&dir, &setup);
    let form = "grant_type=refresh_token&client_id=a&client_secret=s&refresh_token=refresh-T";
    let learned = token(&send(&gate, "/oauth/token/", FORM, form));
    // Whatever happens after the answer: it is on disk.
    gate.kill();
    let mut gate = gate.restart(&setup);
    assert_eq!(told(&gate, DEALS, &learned), allowed());
    assert_eq!(told(&gate, TASKS, &learned), refused(403, "scope_missing"));
    gate.stop();
    let secrets = ["refresh-T", learned.as_str(), "client_secret"];
    for entry in std::fs::read_dir(gate.state_dir()).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} stands in {:?}", entry.path());
        }
    }
    use std::os::unix::fs::PermissionsExt as _;
    let database = gate.state_dir().join("grants.db");
    let mode = std::fs::metadata(database).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn that_a_token_has_expired_is_remembered_over_a_restart() {
    let portal = Emulator::start(&["--token", "T=crm", "--expires-in", "0"]);
    let setup = Setup::before(&portal.address);
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut gate = Gate::start_in(&dir, &setup);
    let form = "grant_type=refresh_token&client_id=a&client_secret=s&refresh_token=refresh-T";
    let learned = token(&send(&gate, "/oauth/token/", FORM, form));
    assert_eq!(told(&gate, DEALS, &learned), refused(401, "token_expired"));
    gate.kill();
    let gate = gate.restart(&setup);
    assert_eq!(told(&gate, DEALS, &learned), refused(401, "token_expired"));
}

#[test]
fn a_thousand_first_calls_of_one_token_are_one_question() {
    let questions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&questions);
    let portal = Portal::scripted(move |request| {
        if request.target.starts_with("/rest/scope") {
            counted.fetch_add(1, Ordering::SeqCst);
            assert_eq!(request.body, b"auth=T%3A1");
            std::thread::sleep(std::time::Duration::from_millis(300));
            return Reply::Bytes(ok(r#"{"result":["crm"],"time":{}}"#));
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    let gate = Setup::before(&portal.address)
        .with("unknown_token = \"ask\"")
        .section("[limits]\ncalls_per_token = 2000\ncalls_in_flight = 2000")
        .start();
    let calls = 1000;
    let request =
        format!("GET {DEALS} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer T:1\r\n\r\n");
    let mut clients: Vec<Client> = (0..calls).map(|_| Client::connect(&gate.address)).collect();
    for client in &mut clients {
        client.send(request.as_bytes());
    }
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    assert_eq!(questions.load(Ordering::SeqCst), 1);
    assert_eq!(told(&gate, TASKS, "T:1"), refused(403, "scope_missing"));
    assert_eq!(questions.load(Ordering::SeqCst), 1);
    assert_eq!(
        metric(
            &gate,
            "grantgate_questions_total{gate=\"portal\",result=\"known\"}"
        ),
        1.0
    );
}

#[test]
fn webhooks_and_livechat_tokens_can_be_asked_about() {
    let portal = Emulator::start(&["--token", "7/secret=crm"]);
    let gate = Setup::before(&portal.address)
        .with("unknown_token = \"ask\"")
        .start();
    let hook = |method: &str| {
        let answer = get_plain(&gate, &format!("/rest/7/secret/{method}"));
        (answer.status, answer.reason().to_owned())
    };
    assert_eq!(hook("crm.deal.list"), allowed());
    assert_eq!(hook("task.item.list"), refused(403, "scope_missing"));
    // `INVALID_CREDENTIALS` does not say that it ever was one.
    let other = get_plain(&gate, "/rest/7/wrong/crm.deal.list");
    assert_eq!((other.status, other.reason()), (403, "token_unknown"));

    let accounts = Emulator::of("livechat", &["--token", "dal:one=chats--all:ro"]);
    let mut gate = Setup::before(&accounts.address)
        .of("livechat")
        .with("unknown_token = \"ask\"")
        .start();
    let chats = |gate: &Gate, action: &str, bearer: &str| {
        let request = format!(
            "POST /v3.6/agent/action/{action} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {bearer}\r\ncontent-type: {JSON}\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let answer = exchange(&gate.address, request.as_bytes()).unwrap();
        (answer.status, answer.reason().to_owned())
    };
    assert_eq!(chats(&gate, "list_chats", "dal:one"), allowed());
    assert_eq!(
        chats(&gate, "resume_chat", "dal:one"),
        refused(403, "scope_missing")
    );
    assert_eq!(
        chats(&gate, "list_chats", "dal:none"),
        refused(401, "token_revoked")
    );
    gate.stop();
    let captured = &gate.records_of("token.captured")[0];
    assert_eq!(captured["grant"]["source"], "vendor-info");
    assert_eq!(captured["tenant"], "390e44e6-f1e6-4dc6-be53-1d8c5c4ad8a0");
}

/// What a question is answered with, in turn; the last goes on.
fn oracle(answers: Vec<Reply>) -> Portal {
    let answers = Mutex::new(answers.into_iter());
    Portal::scripted(move |request| {
        if request.target.starts_with("/rest/scope") {
            return answers
                .lock()
                .unwrap()
                .next()
                .unwrap_or_else(|| Reply::Bytes(ok(r#"{"result":["crm"]}"#)));
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    })
}

fn status(line: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn an_outage_is_no_answer_and_nobody_is_stuck() {
    let long = format!("{{\"result\":[\"crm\",\"{}\"]}}", "x".repeat(10 << 20));
    let trouble = vec![
        Reply::Bytes(status("500 Internal Server Error", r#"{"result":["crm"]}"#)),
        Reply::Bytes(status("503 Busy", r#"{"error":"QUERY_LIMIT_EXCEEDED"}"#)),
        Reply::Bytes(ok("not JSON")),
        Reply::Bytes(ok(r#"{"result":{"crm":true}}"#)),
        Reply::Bytes(ok(&long)),
        Reply::Last(
            b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n{\"result\":[\"crm\"]}".to_vec(),
        ),
        Reply::Last(b"garbage\r\n\r\n".to_vec()),
        Reply::Hang(Vec::new()),
    ];
    let count = trouble.len();
    let portal = oracle(trouble);
    let mut gate = Setup::before(&portal.address)
        .with("unknown_token = \"ask\"\nask_secs = 1\nquestions_per_minute = 600")
        .start();
    for number in 0..count {
        assert_eq!(
            told(&gate, DEALS, "T"),
            refused(503, "grant_unavailable"),
            "trouble {number}"
        );
    }
    assert_eq!(told(&gate, DEALS, "T"), allowed());
    gate.stop();
    assert_eq!(gate.records_of("token.captured").len(), 1);
    let decided = gate.records_of("call.decision");
    assert_eq!(decided[0]["decision"], "error_deny");
    assert_eq!(decided[0]["reason"], "grant_unavailable");
}

#[test]
fn questions_keep_to_their_rate_and_known_tokens_do_not_notice() {
    let questions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&questions);
    let portal = Portal::scripted(move |request| {
        if request.target.starts_with("/rest/scope") {
            counted.fetch_add(1, Ordering::SeqCst);
            let body = r#"{"error":"invalid_token"}"#;
            if request.body == b"auth=good" {
                return Reply::Bytes(ok(r#"{"result":["crm"]}"#));
            }
            return Reply::Bytes(status("401 Unauthorized", body));
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    let gate = Setup::before(&portal.address)
        .with("unknown_token = \"ask\"\nquestions_per_minute = 30")
        .start();
    assert_eq!(told(&gate, DEALS, "good"), allowed());
    let began = std::time::Instant::now();
    let mut client = Client::connect(&gate.address);
    let mut over = 0;
    for number in 0..500 {
        let request = format!(
            "GET {DEALS} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer r{number}\r\n\r\n"
        );
        let answer = client.send(request.as_bytes()).answer().unwrap();
        over += usize::from(answer.reason() == "grant_unavailable");
        assert!(
            matches!(answer.reason(), "token_revoked" | "grant_unavailable"),
            "{}",
            answer.reason()
        );
    }
    assert_eq!(told(&gate, DEALS, "good"), allowed());
    let asked = questions.load(Ordering::SeqCst);
    // Ten at once, and one every two seconds.
    let most = 12 + usize::try_from(began.elapsed().as_secs()).unwrap() / 2;
    assert!((2..=most).contains(&asked), "{asked} of at most {most}");
    assert!(over >= 500 - most, "{over} of 500 refused unasked");
    // What nobody knows leaves nothing behind.
    assert_eq!(metric(&gate, "grantgate_grants{gate=\"portal\"}"), 1.0);
}

#[test]
fn an_authorization_server_of_ones_own_can_be_asked() {
    let server = Portal::scripted(|request| {
        assert_eq!(request.target, "/oauth2/introspect?realm=a");
        assert_eq!(
            request.header("authorization"),
            Some("Basic Z2F0ZTpzM2NyZXQ=")
        );
        let body = String::from_utf8_lossy(&request.body).into_owned();
        Reply::Bytes(ok(match body.as_str() {
            "token=good" => {
                r#"{"active":true,"scope":"ReadCallLog","sub":"ext-7","token_type":"bearer"}"#
            }
            "token=dead" => r#"{"active":false}"#,
            _ => r#"{"active":true}"#,
        }))
    });
    let platform = Portal::start();
    let mut gate = Setup::before(&platform.address)
        .of("ringcentral")
        .with(&format!(
            "unknown_token = \"ask\"\nintrospection = {{ endpoint = \"http://{}/oauth2/introspect?realm=a\", client_id = \"gate\", client_secret = \"s3cret\" }}",
            server.address
        ))
        .start();
    assert_eq!(told(&gate, CALLS, "good"), allowed());
    assert_eq!(told(&gate, MESSAGES, "good"), refused(403, "scope_missing"));
    assert_eq!(told(&gate, CALLS, "dead"), refused(401, "token_revoked"));
    assert_eq!(
        told(&gate, CALLS, "silent"),
        refused(503, "grant_unavailable")
    );
    assert_eq!(server.received().len(), 3);
    gate.stop();
    let captured = &gate.records_of("token.captured")[0];
    assert_eq!(captured["grant"]["source"], "introspection");
    assert_eq!(captured["subject"]["id"], "ext-7");
}

#[test]
fn only_whole_answers_to_token_requests_teach() {
    let tokens =
        r#"{"access_token":"stolen","refresh_token":"r","expires_in":3600,"scope":"crm,task"}"#;
    let portal = Portal::scripted(move |request| {
        let whole = ok(tokens);
        if request.target.contains("cut") {
            let cut = whole.len() - 10;
            return Reply::Last(whole[..cut].to_vec());
        }
        if request.target.contains("bad") {
            return Reply::Bytes(status("400 Bad Request", tokens));
        }
        if request.target.contains("twice") {
            return Reply::Bytes(ok(
                r#"{"access_token":"stolen","access_token":"stolen","scope":"crm"}"#,
            ));
        }
        if request.target.contains("id_token") {
            return Reply::Bytes(ok(
                r#"{"access_token":"stolen","issued_token_type":"urn:ietf:params:oauth:token-type:id_token","scope":"crm"}"#,
            ));
        }
        Reply::Bytes(whole)
    });
    let gate = Setup::before(&portal.address)
        .grant("app", &["crm"])
        .start();
    // A method's answer is no token answer, whatever it holds.
    assert_eq!(told(&gate, DEALS, "app"), allowed());
    for target in [
        "/oauth/token/?grant_type=refresh_token&cut=1",
        "/oauth/token/?grant_type=refresh_token&bad=1",
        "/oauth/token/?grant_type=refresh_token&twice=1",
        "/oauth/token/?grant_type=refresh_token&id_token=1",
    ] {
        let _ = get_plain(&gate, target);
        assert_eq!(
            told(&gate, DEALS, "stolen"),
            refused(403, "token_unknown"),
            "{target}"
        );
    }
    let answer = get_plain(&gate, "/oauth/token/?grant_type=refresh_token");
    assert_eq!(answer.text(), tokens, "untouched");
    assert_eq!(told(&gate, DEALS, "stolen"), allowed());
}

#[test]
fn the_same_token_on_two_gates_is_two_grants() {
    let one = Emulator::start(&["--token", "T=crm"]);
    let two = Emulator::start(&["--token", "T=task"]);
    let setup = Setup::before(&one.address).with("unknown_token = \"ask\"");
    let setup = Setup {
        after: format!(
            "[[gate]]\nname = \"other\"\nvendor = \"bitrix24\"\nlisten = \"127.0.0.1:0\"\nupstream = \"http://{}\"\nunknown_token = \"ask\"\n",
            two.address
        ),
        ..setup
    };
    let gate = setup.start();
    let request = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer T\r\n\r\n")
    };
    for (name, deals, tasks) in [("portal", 200, 403), ("other", 403, 200)] {
        let status = |target: &str| {
            exchange(&gate.addresses[name], request(target).as_bytes())
                .unwrap()
                .status
        };
        assert_eq!((status(DEALS), status(TASKS)), (deals, tasks), "{name}");
    }
}

#[test]
fn a_database_that_cannot_be_read_is_put_aside() {
    let portal = Emulator::start(&["--token", "T=crm", "--token", "D=crm"]);
    let setup = Setup::before(&portal.address).grant("D", &["crm"]);
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut gate = Gate::start_in(&dir, &setup);
    gate.stop();
    std::fs::write(
        gate.state_dir().join("grants.db"),
        "no database at all, but long enough to look at",
    )
    .unwrap();
    let gate = gate.restart(&setup);
    assert!(
        gate.log().contains("cannot be read: it is put aside"),
        "{}",
        gate.log()
    );
    assert_eq!(told(&gate, DEALS, "D"), allowed());
    let form = "grant_type=refresh_token&client_id=a&client_secret=s&refresh_token=refresh-T";
    let learned = token(&send(&gate, "/oauth/token/", FORM, form));
    assert_eq!(told(&gate, DEALS, &learned), allowed());
    let aside = std::fs::read_dir(gate.state_dir()).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains("broken"));
    assert_eq!(aside.count(), 1);
}

#[test]
fn the_vendors_word_against_a_token_counts() {
    let portal = Portal::scripted(|request| {
        if request.target.starts_with("/oauth/token") {
            return Reply::Bytes(ok(
                r#"{"access_token":"T","scope":"crm task","expires_in":"3600"}"#,
            ));
        }
        if request.target.contains("crm.lead.list") {
            return Reply::Bytes(status(
                "401 Unauthorized",
                r#"{"error":"insufficient_scope"}"#,
            ));
        }
        if request.target.contains("task.item.list") {
            return Reply::Bytes(status(
                "401 Unauthorized",
                r#"{"error":"expired_token","error_description":"x"}"#,
            ));
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    let mut gate = Setup::before(&portal.address).start();
    get_plain(&gate, "/oauth/token/?grant_type=authorization_code&code=c");
    assert_eq!(told(&gate, DEALS, "T"), allowed());
    // Refused for its scope, twice: the answer passes, and the drift is recorded once.
    for _ in 0..2 {
        let answer = get(&gate, "/rest/crm.lead.list", "T");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (401, r#"{"error":"insufficient_scope"}"#)
        );
    }
    assert_eq!(get(&gate, TASKS, "T").status, 401);
    assert_eq!(told(&gate, DEALS, "T"), refused(401, "token_expired"));
    assert_eq!(metric(&gate, "grantgate_drift_total{gate=\"portal\"}"), 2.0);
    gate.stop();
    let drift = gate.records_of("drift.detected");
    assert_eq!(drift.len(), 1);
    assert_eq!(drift[0]["operation"], "crm.lead.list");
    assert_eq!(
        drift[0]["scopes"],
        json!({"required": [["crm"]], "granted": ["crm", "task"]})
    );
    assert_eq!(drift[0]["vendor_error"]["code"], "insufficient_scope");
    let ends = gate.records_of("grant.revoked");
    assert_eq!(ends[0]["cause"], "vendor_said_expired");
    let completions = gate.records_of("call.completion");
    let mismatch = completions
        .iter()
        .filter(|record| record["scope_mismatch"] == true);
    assert_eq!(mismatch.count(), 2);
}

#[test]
fn scopes_that_the_catalogue_does_not_know_are_a_drift() {
    let portal = Portal::scripted(|_| {
        Reply::Bytes(ok(
            r#"{"access_token":"T","scope":"crm,brand_new","expires_in":60}"#,
        ))
    });
    let mut gate = Setup::before(&portal.address).start();
    get_plain(&gate, "/oauth/token/?grant_type=authorization_code&code=c");
    gate.stop();
    let drift = gate.records_of("drift.detected");
    assert_eq!(drift.len(), 1);
    assert_eq!(drift[0]["unknown_scope"], "brand_new");
}

#[test]
fn bitrix24s_app_is_no_scope_and_is_asked_about() {
    let portal = Portal::scripted(|request| {
        if request.target.starts_with("/oauth/token") {
            return Reply::Bytes(ok(
                r#"{"access_token":"T","refresh_token":"R","scope":"app","expires_in":3600}"#,
            ));
        }
        if request.target.starts_with("/rest/scope") {
            return Reply::Bytes(ok(r#"{"result":["crm"]}"#));
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    let plain = Setup::before(&portal.address).start();
    get_plain(&plain, "/oauth/token/?grant_type=authorization_code&code=c");
    assert_eq!(told(&plain, DEALS, "T"), refused(403, "token_unknown"));
    let asking = Setup::before(&portal.address)
        .with("unknown_token = \"ask\"")
        .start();
    get_plain(
        &asking,
        "/oauth/token/?grant_type=authorization_code&code=c",
    );
    assert_eq!(told(&asking, DEALS, "T"), allowed());
    assert_eq!(told(&asking, TASKS, "T"), refused(403, "scope_missing"));
}

#[test]
fn which_grant_counts_is_a_setting() {
    let portal = Emulator::start(&["--token", "T=crm,task"]);
    let form = "grant_type=refresh_token&client_id=a&client_secret=s&refresh_token=refresh-T";
    // The emulator hands the token out under a name of its own: it is declared once it is known.
    for (setting, tasks, users) in [
        ("declared", 403, 200),
        ("learned", 200, 403),
        ("narrowest", 403, 403),
    ] {
        let portal = Portal::scripted(|request| {
            if request.target.starts_with("/oauth/token") {
                return Reply::Bytes(ok(
                    r#"{"access_token":"T","scope":"crm,task","expires_in":3600}"#,
                ));
            }
            Reply::Bytes(ok(r#"{"result":true}"#))
        });
        let gate = Setup::before(&portal.address)
            .with(&format!("grant_source = {setting:?}"))
            .grant("T", &["crm", "user"])
            .start();
        send(&gate, "/oauth/token/", FORM, form);
        let status = |target: &str| get(&gate, target, "T").status;
        assert_eq!(status(DEALS), 200, "{setting}");
        assert_eq!(status(TASKS), tasks, "{setting}");
        assert_eq!(status("/rest/user.get"), users, "{setting}");
    }
    drop(portal);
}

#[test]
fn memory_is_bounded_and_the_disk_knows_the_rest() {
    let portal = Portal::scripted(|request| {
        if let Some((_, number)) = request.target.split_once("code=") {
            let (number, lasts) = (number, 1000 + number.parse::<u32>().unwrap());
            return Reply::Bytes(ok(&format!(
                r#"{{"access_token":"T{number}","scope":"crm","expires_in":{lasts}}}"#
            )));
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    let gate = Setup::before(&portal.address)
        .section("[limits]\ngrants = 20")
        .start();
    for number in 0..50 {
        get_plain(
            &gate,
            &format!("/oauth/token/?grant_type=authorization_code&code={number}"),
        );
    }
    assert!(metric(&gate, "grantgate_grants{gate=\"portal\"}") <= 20.0);
    // The soonest to end went first, and are brought back when they are needed.
    for number in [0, 1, 25, 49] {
        assert_eq!(
            told(&gate, DEALS, &format!("T{number}")),
            allowed(),
            "{number}"
        );
    }
    assert_eq!(told(&gate, DEALS, "T99"), refused(403, "token_unknown"));
}

#[test]
fn settings_that_have_no_effect_are_told() {
    for (line, word) in [
        (
            "introspection = { endpoint = \"https://a.example/x\", client_id = \"c\", client_secret = \"s\" }",
            "`introspection` has no effect",
        ),
        (
            "unknown_token = \"ask\"\nintrospection = { endpoint = \"ftp://a.example/x\", client_id = \"c\", client_secret = \"s\" }",
            "neither https nor http",
        ),
        (
            "unknown_token = \"ask\"\nintrospection = { endpoint = \"http://a.example/x\", client_id = \"c\", client_secret = \"s\" }",
            "in the clear",
        ),
        (
            "unknown_token = \"ask\"\nintrospection = { endpoint = \"https://a.example/x\", client_id = \"c\" }",
            "`client_secret` is missing",
        ),
        ("grant_source = \"both\"", "grant_source"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::before("127.0.0.1:9").with(line);
        let path = dir.path().join("c.toml");
        std::fs::write(&path, setup.text(dir.path())).unwrap();
        let (code, _, said) = run(&["check", "--config", path.to_str().unwrap()]);
        assert_eq!(code, 2, "{line}: {said}");
        assert!(said.contains(word), "{line}: {said}");
    }
}

/// Runs `grants …` on the configuration of a gate: exit code and what it printed.
fn grants(dir: &tempfile::TempDir, arguments: &[&str]) -> (i32, String) {
    let config = dir.path().join("grantgate.toml");
    let mut all = vec!["grants"];
    all.extend(arguments);
    all.extend(["--config", config.to_str().unwrap()]);
    let (code, said, error) = run(&all);
    (code, said + &error)
}

#[test]
fn grants_are_listed_shown_and_forgotten_with_or_without_a_process() {
    let portal = Portal::scripted(|request| {
        if let Some((_, name)) = request.target.split_once("code=") {
            return Reply::Bytes(ok(&format!(
                r#"{{"access_token":"{name}","scope":"crm,task,user","expires_in":3600,"user_id":7,"member_id":"m"}}"#
            )));
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = Setup::before(&portal.address).grant("declared", &["crm"]);
    let mut gate = Gate::start_in(&dir, &setup);
    for name in ["one", "two"] {
        get_plain(
            &gate,
            &format!("/oauth/token/?grant_type=authorization_code&code={name}"),
        );
    }
    assert_eq!(told(&gate, DEALS, "one"), allowed());
    let batch = "cmd[a]=task.item.list&auth=one";
    assert_eq!(send(&gate, "/rest/batch", FORM, batch).status, 200);
    let (code, said) = grants(&dir, &["list"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("gate portal: 3 grants"), "{said}");
    let (_, json) = grants(&dir, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&json).unwrap();
    let found = |user: &str| {
        let all = listed[0]["grants"].as_array().unwrap();
        all.iter()
            .filter(|grant| {
                grant["user"] == user && grant["tenant"] == "m" && grant["standing"] == "valid"
            })
            .count()
    };
    assert_eq!(found("7"), 2);
    // The same by the admin listener, which changes nothing.
    assert_eq!(gate.admin("/grants").json(), listed);
    let reference = listed[0]["grants"]
        .as_array()
        .unwrap()
        .iter()
        .find(|grant| !grant["used"].is_null())
        .unwrap()["ref"]
        .as_str()
        .unwrap()
        .to_owned();
    let request =
        format!("DELETE /grants/{reference} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(
        exchange(&gate.admin, request.as_bytes()).unwrap().status,
        403
    );
    let (code, said) = grants(&dir, &["show", &reference]);
    assert_eq!(code, 0, "{said}");
    for words in ["source   capture", "tenant   m", "scopes   crm task user"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert_eq!(grants(&dir, &["forget", &reference]).0, 0);
    assert_eq!(told(&gate, DEALS, "one"), refused(403, "token_unknown"));
    assert_eq!(grants(&dir, &["forget", &reference]).0, 1);
    assert_eq!(grants(&dir, &["show", "nonsense"]).0, 2);
    gate.stop();
    assert!(
        gate.records_of("grant.revoked")
            .iter()
            .any(|record| record["cause"] == "forgotten")
    );
    // Without a process: what was used is on disk, by batches too.
    let (_, said) = grants(&dir, &["list"]);
    assert!(said.contains("gate portal: 1 grant\n"), "{said}");
    assert!(said.contains("granted but never used: user\n"), "{said}");
    let (_, json) = grants(&dir, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&json).unwrap();
    let scopes = listed[0]["scopes"].as_array().unwrap();
    let crm = scopes.iter().find(|scope| scope["scope"] == "crm").unwrap();
    assert_eq!(crm["uses"], 1);
    let reference = listed[0]["grants"][0]["ref"].as_str().unwrap().to_owned();
    assert_eq!(grants(&dir, &["forget", &reference]).0, 0);
    let gate = gate.restart(&setup);
    assert_eq!(told(&gate, DEALS, "two"), refused(403, "token_unknown"));
}

#[test]
fn what_an_app_asks_for_is_not_what_it_has() {
    let portal = Portal::scripted(|request| {
        if request.target.starts_with("/oauth/token") {
            let scope = if request.target.contains("said") {
                r#","scope":"crm""#
            } else if request.target.contains("silent") {
                ""
            } else {
                r#","scope":"app""#
            };
            return Reply::Bytes(ok(&format!(
                r#"{{"access_token":"T","refresh_token":"R","expires_in":3600{scope}}}"#
            )));
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    let mut gate = Setup::before(&portal.address).start();
    let widest = "scope=crm,task,telephony,made_up";
    for (query, expected) in [
        (
            format!("grant_type=authorization_code&{widest}"),
            "token_unknown",
        ),
        (
            format!("grant_type=client_credentials&{widest}"),
            "token_unknown",
        ),
        (
            format!("grant_type=refresh_token&refresh_token=R&silent=1&{widest}"),
            "token_unknown",
        ),
        (
            format!("grant_type=authorization_code&said=1&{widest}"),
            "scope_missing",
        ),
        // What there was before is known now, and a refresh gets no more of it.
        (
            format!("grant_type=refresh_token&refresh_token=R&silent=1&{widest}"),
            "scope_missing",
        ),
    ] {
        get_plain(&gate, &format!("/oauth/token/?{query}"));
        let answer = get(&gate, TASKS, "T");
        assert_eq!(answer.reason(), expected, "{query}");
    }
    gate.stop();
    assert_eq!(gate.records_of("drift.detected").len(), 0);
    let text = support::gate::journal_text(&gate.state_dir());
    assert!(!text.contains("made_up"));
}

#[test]
fn a_revocation_counts_though_the_app_does_not_wait_for_it() {
    let platform = Portal::scripted(|request| {
        if request.target == "/restapi/oauth/token" {
            return Reply::Bytes(ok(
                r#"{"access_token":"A","refresh_token":"R","scope":"ReadCallLog","expires_in":3600}"#,
            ));
        }
        if request.target == "/restapi/oauth/revoke" {
            return Reply::Hang(Vec::new());
        }
        Reply::Bytes(ok("{}"))
    });
    let gate = Setup::before(&platform.address).of("ringcentral").start();
    send(
        &gate,
        "/restapi/oauth/token",
        FORM,
        "grant_type=password&client_id=c",
    );
    assert_eq!(told(&gate, CALLS, "A"), allowed());
    let mut impatient = Client::connect(&gate.address);
    impatient.send(&post("/restapi/oauth/revoke", FORM, "token=A"));
    while platform.received().len() < 3 {
        std::thread::yield_now();
    }
    drop(impatient);
    while told(&gate, CALLS, "A") != refused(401, "token_revoked") {
        std::thread::yield_now();
    }
    // One that the vendor refuses to revoke stays what it was.
    let platform = Portal::scripted(|request| {
        if request.target == "/restapi/oauth/revoke" {
            return Reply::Bytes(status("400 Bad Request", r#"{"error":"invalid_client"}"#));
        }
        Reply::Bytes(ok(
            r#"{"access_token":"A","refresh_token":"R","scope":"ReadCallLog","expires_in":3600}"#,
        ))
    });
    let gate = Setup::before(&platform.address).of("ringcentral").start();
    send(
        &gate,
        "/restapi/oauth/token",
        FORM,
        "grant_type=password&client_id=c",
    );
    send(&gate, "/restapi/oauth/revoke", FORM, "token=A");
    assert_eq!(told(&gate, CALLS, "A"), allowed());
    let twice = send(&gate, "/restapi/oauth/revoke", FORM, "token=A&token=B");
    assert_eq!((twice.status, twice.reason()), (400, "ambiguous_body"));
}

#[test]
fn a_revocation_counts_though_the_program_is_ended_within_it() {
    let platform = Portal::scripted(|request| match request.target.as_str() {
        "/restapi/oauth/token" => Reply::Bytes(ok(
            r#"{"access_token":"A","refresh_token":"R","scope":"ReadCallLog","expires_in":3600}"#,
        )),
        "/restapi/oauth/revoke" => Reply::Hang(Vec::new()),
        _ => Reply::Bytes(ok("{}")),
    });
    let setup = Setup::before(&platform.address).of("ringcentral");
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut gate = Gate::start_in(&dir, &setup);
    let form = "grant_type=password&client_id=c";
    send(&gate, "/restapi/oauth/token", FORM, form);
    assert_eq!(told(&gate, CALLS, "A"), allowed());
    // By the refresh token: what ends with it has to be looked up.
    let mut app = Client::connect(&gate.address);
    app.send(&post("/restapi/oauth/revoke", FORM, "token=R"));
    while platform.received().len() < 3 {
        std::thread::yield_now();
    }
    gate.signal(Signal::TERM);
    while !gate.admin("/readyz").text().contains("stopping") {
        std::thread::yield_now();
    }
    gate.signal(Signal::TERM);
    assert_eq!(gate.wait().code(), Some(0));
    let ends = gate.records_of("grant.revoked");
    assert_eq!(ends.len(), 2, "both of the pair, once each: {ends:?}");
    let gate = gate.restart(&setup);
    assert_eq!(told(&gate, CALLS, "A"), refused(401, "token_revoked"));
}

#[test]
fn an_old_refresh_token_revokes_what_came_after_it() {
    let made = AtomicUsize::new(0);
    let platform = Portal::scripted(move |request| {
        if request.target == "/restapi/oauth/token" {
            let one = made.fetch_add(1, Ordering::SeqCst);
            return Reply::Bytes(ok(&format!(
                r#"{{"access_token":"A{one}","refresh_token":"R{one}","scope":"ReadCallLog","expires_in":3600}}"#
            )));
        }
        Reply::Bytes(ok("{}"))
    });
    let gate = Setup::before(&platform.address).of("ringcentral").start();
    let form = "grant_type=password&client_id=c";
    send(&gate, "/restapi/oauth/token", FORM, form);
    for number in 0..2 {
        let form = format!("grant_type=refresh_token&client_id=c&refresh_token=R{number}");
        send(&gate, "/restapi/oauth/token", FORM, &form);
    }
    assert_eq!(told(&gate, CALLS, "A1"), refused(401, "token_revoked"));
    assert_eq!(told(&gate, CALLS, "A2"), allowed());
    send(&gate, "/restapi/oauth/revoke", FORM, "token=R0");
    assert_eq!(told(&gate, CALLS, "A2"), refused(401, "token_revoked"));
}

#[test]
fn what_is_assumed_does_not_hide_what_is_on_disk() {
    let portal = Portal::scripted(|request| {
        if request.target.starts_with("/oauth/token") {
            let (_, name) = request.target.split_once("code=").unwrap();
            return Reply::Bytes(ok(&format!(
                r#"{{"access_token":"{name}","scope":"crm","expires_in":3600}}"#
            )));
        }
        if request.target.contains("task.item.list") {
            return Reply::Bytes(status("401 Unauthorized", r#"{"error":"invalid_token"}"#));
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let setup = Setup::before(&portal.address)
        .with("unknown_token = \"assume\"\nassumed_scopes = [\"crm\", \"task\"]")
        .section("[limits]\ngrants = 16");
    let mut gate = Gate::start_in(&dir, &setup);
    for number in 0..40 {
        get_plain(
            &gate,
            &format!("/oauth/token/?grant_type=authorization_code&code=T{number}"),
        );
    }
    // Most of them are on disk only by now, and narrower than what is assumed.
    for number in 0..40 {
        assert_eq!(
            told(&gate, TASKS, &format!("T{number}")).0,
            403,
            "T{number}"
        );
    }
    // One that nobody knows holds what is assumed, until the vendor says otherwise; that outlives the process.
    assert_eq!(told(&gate, DEALS, "U"), allowed());
    gate.kill();
    let gate = gate.restart(&setup);
    assert_eq!(told(&gate, TASKS, "T0"), refused(403, "scope_missing"));
}

#[test]
fn a_grant_that_becomes_wider_or_narrower_is_told_with_both_sets() {
    let portal = Portal::scripted(|request| {
        let (_, scope) = request.target.split_once("answer=").unwrap();
        Reply::Bytes(ok(&format!(
            r#"{{"access_token":"T-{scope}","refresh_token":"R","scope":"{scope}","expires_in":60}}"#
        )))
    });
    let mut gate = Setup::before(&portal.address).start();
    let device = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
    for query in [
        format!("grant_type={device}&answer=crm,user"),
        "grant_type=refresh_token&refresh_token=R&answer=crm".to_owned(),
        "grant_type=refresh_token&refresh_token=R&answer=crm,task".to_owned(),
        "grant_type=refresh_token&refresh_token=R&answer=crm,task".to_owned(),
    ] {
        get_plain(&gate, &format!("/oauth/token/?{query}"));
    }
    gate.stop();
    let changed: Vec<Value> = gate
        .records_of("grant.changed")
        .iter()
        .map(|record| record["scopes"].clone())
        .collect();
    assert_eq!(
        changed,
        [
            json!({"granted": ["crm"], "before": ["crm", "user"]}),
            json!({"granted": ["crm", "task"], "before": ["crm"]}),
        ]
    );
    let captured = gate.records_of("token.captured");
    assert_eq!(captured[0]["grant"]["type"], "device_code");
    assert_eq!(captured.len(), 4);
}
