//! RingCentral and LiveChat through a real gate: what their client libraries send arrives unchanged, what is outside the
//! grant is refused in their own words, batches are divided, media stream, and token traffic finds its server.

mod support;

use grantgate::catalogue::{Catalogue, Routed};
use grantgate::vendor::Vendor;
use serde_json::{Value, json};
use support::gate::Setup;
use support::{Emulator, Gate, Portal, exchange, post};

const RINGCENTRAL: [&str; 2] = [
    include_str!("captures/rc_ringcentral.oauth.jsonl"),
    include_str!("captures/rc_sdk.oauth.jsonl"),
];
const LIVECHAT: [&str; 1] = [include_str!("captures/lc_sdk_js.oauth.jsonl")];

/// Header fields that the contract removes or rewrites.
const REWRITTEN: [&str; 6] = [
    "host",
    "connection",
    "keep-alive",
    "content-length",
    "transfer-encoding",
    "accept-encoding",
];

fn catalogue(vendor: Vendor) -> Catalogue {
    Catalogue::parse(vendor.bundled_catalogue()).unwrap()
}

fn all_scopes(catalogue: &Catalogue) -> Vec<&str> {
    let codes = catalogue.scopes().iter();
    codes.map(|info| info.code.as_ref()).collect()
}

struct Capture {
    line: Value,
    bytes: Vec<u8>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn captures(files: &[&str]) -> Vec<Capture> {
    let lines = files.iter().flat_map(|file| file.lines());
    lines
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let mut bytes = format!(
                "{} {} HTTP/1.1\r\n",
                text(&line["method"]),
                text(&line["target"])
            )
            .into_bytes();
            for pair in line["headers"].as_array().unwrap() {
                let (name, mut value) = (text(&pair[0]), text(&pair[1]).replace("PORT", "80"));
                // A boundary that was made at random has another length in the capture.
                if name.eq_ignore_ascii_case("content-length") {
                    value = text(&line["body"]).len().to_string();
                }
                bytes.extend(format!("{name}: {value}\r\n").into_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            if line["framing"] == "chunked" {
                let body = text(&line["body"]);
                bytes.extend(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes());
            } else {
                bytes.extend(text(&line["body"]).into_bytes());
            }
            Capture { line, bytes }
        })
        .collect()
}

/// The operation that a capture is known to be, by its own reading.
fn meant(vendor: Vendor, catalogue: &Catalogue, capture: &Capture) -> String {
    let parsed = &capture.line["parsed"];
    let operation = text(&parsed["op"]);
    if vendor == Vendor::LiveChat {
        return format!("{operation}@{}", text(&parsed["api"]));
    }
    let (verb, path) = operation.split_once(' ').unwrap();
    match catalogue.route(verb, path) {
        Routed::Found(operation, _) => operation.name.to_string(),
        other => panic!("{other:?}"),
    }
}

fn headers_of(pairs: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut kept: Vec<_> = pairs
        .map(|(name, value)| (name.to_ascii_lowercase(), value.replace("PORT", "80")))
        .filter(|(name, _)| !REWRITTEN.contains(&name.as_str()))
        .collect();
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    kept
}

#[test]
fn what_client_libraries_send_arrives_unchanged_and_is_read_as_meant() {
    for (vendor, files, count) in [
        (Vendor::RingCentral, &RINGCENTRAL[..], 33),
        (Vendor::LiveChat, &LIVECHAT[..], 8),
    ] {
        let catalogue = catalogue(vendor);
        let scopes = all_scopes(&catalogue);
        for mode in ["enforce", "report", "off"] {
            let portal = Portal::start();
            let mut gate = Setup::before(&portal.address)
                .of(vendor.name())
                .with(&format!("mode = \"{mode}\""))
                .grant("fresh-at-N", &scopes)
                .grant("at-1", &scopes)
                .start();
            let captures = captures(files);
            assert_eq!(captures.len(), count);
            let mut forwarded = Vec::new();
            for capture in &captures {
                let answer = exchange(&gate.address, &capture.bytes).unwrap();
                let received = portal.take();
                let name = meant_name(capture);
                if name == "agent/get_organization_id" && mode == "enforce" {
                    // The vendor documents no such action under 3.4.
                    assert_eq!(
                        (answer.status, answer.reason()),
                        (403, "operation_unlisted")
                    );
                    assert_eq!(received.len(), 0);
                    continue;
                }
                assert_eq!(answer.status, 200, "{name}: {}", answer.text());
                assert_eq!(received.len(), 1, "{name}");
                let pairs = capture.line["headers"].as_array().unwrap().iter();
                let sent = pairs.map(|pair| (text(&pair[0]), text(&pair[1])));
                assert_eq!(received[0].method, text(&capture.line["method"]));
                assert_eq!(received[0].target, text(&capture.line["target"]));
                assert_eq!(
                    String::from_utf8_lossy(&received[0].body),
                    text(&capture.line["body"])
                );
                assert_eq!(
                    headers_of(received[0].headers.iter().cloned()),
                    headers_of(sent),
                    "{name}"
                );
                forwarded.push(capture);
            }
            assert_eq!(gate.stop().code(), Some(0));
            let records = gate.records_of("call.decision");
            let allowed = records.iter().filter(|record| record["decision"] != "deny");
            for (capture, record) in forwarded.iter().zip(allowed) {
                let name = meant_name(capture);
                if name != "agent/get_organization_id" {
                    assert_eq!(record["operation"], meant(vendor, &catalogue, capture));
                }
                let token = capture.line["parsed"]["tokens"][0][0].as_str().unwrap();
                let traffic = name.contains("/restapi/oauth/");
                let place = match token {
                    _ if traffic => Value::Null,
                    "query:access_token" => "query".into(),
                    _ => "header".into(),
                };
                assert_eq!(record["token"]["location"], place, "{name}");
            }
        }
    }
}

fn meant_name(capture: &Capture) -> String {
    text(&capture.line["parsed"]["op"])
}

fn request(verb: &str, target: &str, headers: &str) -> Vec<u8> {
    format!("{verb} {target} HTTP/1.1\r\nhost: gate\r\n{headers}\r\n").into_bytes()
}

fn ringcentral(portal: &str, scopes: &[&str]) -> Gate {
    Setup::before(portal)
        .of("ringcentral")
        .grant("T", scopes)
        .start()
}

fn livechat(portal: &str, scopes: &[&str]) -> Gate {
    Setup::before(portal)
        .of("livechat")
        .grant("T", scopes)
        .start()
}

#[test]
fn a_refusal_of_ringcentral_reads_like_its_own() {
    let emulator = Emulator::of("ringcentral", &["--token", "T=ReadMessages"]);
    let gate = ringcentral(&emulator.address, &["ReadMessages"]);
    let call = request(
        "GET",
        "/restapi/v1.0/account/~/call-log",
        "authorization: Bearer T\r\n",
    );
    let (ours, theirs) = (
        exchange(&gate.address, &call).unwrap(),
        exchange(&emulator.address, &call).unwrap(),
    );
    assert_eq!(ours.status, theirs.status);
    assert_eq!(ours.json(), theirs.json(), "as the platform itself refuses");
    assert_eq!(ours.json()["permissionName"], "ReadCallLog");
    assert!(
        ours.header("www-authenticate")
            .unwrap()
            .contains("scope=\"ReadCallLog\"")
    );
    let verb = request(
        "PATCH",
        "/restapi/v1.0/account/~/call-log",
        "authorization: Bearer T\r\n",
    );
    let answer = exchange(&gate.address, &verb).unwrap();
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
}

#[test]
fn every_id_of_a_call_is_in_its_record() {
    let portal = Portal::start();
    let mut gate = ringcentral(&portal.address, &["EditMessages", "ReadPresence"]);
    let list = request(
        "GET",
        "/restapi/v1.0/account/~/extension/101,102%2C103/presence",
        "authorization: Bearer T\r\n",
    );
    assert_eq!(exchange(&gate.address, &list).unwrap().status, 200);
    for (target, body) in [
        (
            "/restapi/v1.0/account/~/extension/~/message-store/*?_method=PUT",
            r#"[{"id":7,"readStatus":"Read"},{"id":"8"}]"#,
        ),
        (
            "/restapi/v1.0/account/~/extension/~/message-store?_method=DELETE",
            r#"{"records":[{"id":"9"},{"id":10}]}"#,
        ),
    ] {
        let bytes = format!(
            "POST {target} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer T\r\ncontent-type: \
             application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(
            exchange(&gate.address, bytes.as_bytes()).unwrap().status,
            200
        );
        let received = portal.take();
        assert_eq!(
            String::from_utf8_lossy(&received.last().unwrap().body),
            body
        );
    }
    assert_eq!(gate.stop().code(), Some(0));
    let targets: Vec<Value> = gate
        .records_of("call.decision")
        .iter()
        .map(|record| record["targets"].clone())
        .collect();
    assert_eq!(
        targets,
        [
            json!(["101", "102", "103"]),
            json!(["7", "8"]),
            json!(["9", "10"])
        ]
    );
}

#[test]
fn a_subscription_names_where_its_events_go() {
    let portal = Portal::start();
    let mut gate = ringcentral(&portal.address, &["SubscriptionWebhook", "ReadPresence"]);
    let body = r#"{"eventFilters":["/restapi/v1.0/account/~/extension/~/presence"],"deliveryMode":{"transportType":"WebHook","address":"https://user:pw@hook.example/secret"}}"#;
    let bytes = format!(
        "POST /restapi/v1.0/subscription HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer T\r\ncontent-type: \
         application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(
        exchange(&gate.address, bytes.as_bytes()).unwrap().status,
        200
    );
    assert_eq!(gate.stop().code(), Some(0));
    let record = &gate.records_of("call.decision")[0];
    assert_eq!(record["handlers"], json!(["hook.example"]));
    assert_eq!(
        record["scopes"]["required"],
        json!([["ReadPresence", "SubscriptionWebhook"]])
    );
    assert!(!record.to_string().contains("secret"));
}

#[test]
fn media_of_any_size_stream_both_ways() {
    let emulator = Emulator::of("ringcentral", &["--token", "T=Faxes,ReadCallRecording"]);
    let gate = ringcentral(&emulator.address, &["Faxes", "ReadCallRecording"]);
    let content = "/restapi/v1.0/account/~/recording/17/content";
    let whole = request("GET", content, "authorization: Bearer T\r\n");
    let answer = exchange(&gate.address, &whole).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 4096));
    let part = request(
        "GET",
        content,
        "authorization: Bearer T\r\nrange: bytes=10-19\r\n",
    );
    let answer = exchange(&gate.address, &part).unwrap();
    assert_eq!((answer.status, answer.body.len()), (206, 10));
    assert_eq!(answer.header("content-range"), Some("bytes 10-19/4096"));

    // Larger than everything that is ever read before a verdict: it must pass unread.
    let portal = Portal::start();
    let gate = Setup::before(&portal.address)
        .of("ringcentral")
        .section("[limits]\ninspected_body_mib = 1\ninspected_total_mib = 1")
        .grant("T", &["Faxes"])
        .start();
    let body = "x".repeat(3 * 1024 * 1024);
    let bytes = format!(
        "POST /restapi/v1.0/account/~/extension/~/fax HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer \
         T\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(
        exchange(&gate.address, bytes.as_bytes()).unwrap().status,
        200
    );
    assert_eq!(portal.take()[0].body.len(), body.len());
}

#[test]
fn a_refused_upload_hears_its_refusal() {
    let portal = Portal::start();
    let gate = ringcentral(&portal.address, &["ReadMessages"]);
    let size = 8 * 1024 * 1024;
    let mut client = support::Client::connect(&gate.address);
    for _ in 0..2 {
        let head = format!(
            "POST /restapi/v1.0/account/~/extension/~/fax HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer \
             T\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: {size}\r\n\r\n"
        );
        client.send(head.as_bytes());
        // An app that sends everything before it looks at the answer.
        client.send(&vec![b'x'; size]);
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.reason()), (403, "scope_missing"));
    }
    assert_eq!(portal.take(), []);
}

#[test]
fn an_answer_that_cannot_be_put_together_does_not_stand_for_another() {
    let portal = Portal::scripted(|_| {
        let body = "{\"responses\":[{\"id\":\"b\"}]}";
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip";
        support::portal::Reply::Bytes(
            format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        )
    });
    let gate = livechat(&portal.address, &["accounts--all:rw"]);
    let body = r#"{"requests":[{"id":"a","role":"owner"},{"id":"b"}]}"#;
    let bytes = body_of("/v3.6/configuration/action/batch_create_agents", body);
    let answer = exchange(&gate.address, &bytes).unwrap();
    assert_eq!((answer.status, answer.reason()), (502, "upstream_invalid"));
}

#[test]
fn an_answer_that_does_not_count_breaks_off() {
    let body = r#"{"requests":[{"id":"a"},{"id":"x","role":"owner"},{"id":"b"}]}"#;
    for (answer, whole) in [
        (
            r#"{"responses":[{"id":"a"},{"id":"b","name":"\ud83d"}]}"#,
            true,
        ),
        (r#"{"responses":[{"id":"a"}]}"#, false),
        (r#"{"responses":[{"id":"a"},{"id":"b"},{"id":"c"}]}"#, false),
        (
            r#"{"responses":[{"id":"a"},{"id":"b"}],"responses":[]}"#,
            false,
        ),
        (r#"{"Responses":[{"id":"a"},{"id":"b"}]}"#, false),
        (r#"[{"id":"a"},{"id":"b"}]"#, false),
        ("\u{feff}{\"responses\":[{},{}]}", false),
        (r#"{"responses":{"0":{},"1":{}}}"#, false),
        (r#"{"responses":[{"id":"a"},{"id":"b"}"#, false),
        ("", false),
    ] {
        let portal = Portal::scripted(move |_| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
            support::portal::Reply::Bytes(
                format!("{head}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).into_bytes(),
            )
        });
        let mut gate = livechat(&portal.address, &["accounts--all:rw"]);
        let bytes = body_of("/v3.6/configuration/action/batch_create_agents", body);
        let given = exchange(&gate.address, &bytes);
        if whole {
            let given = given.unwrap();
            assert!(given.whole);
            assert!(given.text().contains("missing scope"), "{}", given.text());
            assert!(given.text().contains("ud83d"), "as the vendor wrote it");
        } else {
            let passed = given.filter(|given| given.whole && given.status == 200);
            let text = passed.map(|given| given.text());
            assert_eq!(text, None, "{answer}");
        }
        assert_eq!(gate.stop().code(), Some(0));
        let outcome = gate.records_of("call.completion")[0]["outcome"].clone();
        assert_eq!(outcome, if whole { "ok" } else { "aborted" }, "{answer}");
    }
}

fn body_of(target: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {target} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer T\r\ncontent-type: \
         application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn a_login_page_may_lead_elsewhere() {
    let portal = Portal::scripted(|_| {
        let head =
            "HTTP/1.1 302 Found\r\nlocation: https://login.example/\r\ncontent-length: 0\r\n\r\n";
        support::portal::Reply::Bytes(head.as_bytes().to_vec())
    });
    let gate = ringcentral(&portal.address, &["ReadAccounts"]);
    let page = request(
        "GET",
        "/restapi/oauth/authorize?response_type=code&client_id=a",
        "",
    );
    let answer = exchange(&gate.address, &page).unwrap();
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, Some("https://login.example/"))
    );
    let call = request(
        "GET",
        "/restapi/v1.0/account/~",
        "authorization: Bearer T\r\n",
    );
    assert_eq!(exchange(&gate.address, &call).unwrap().status, 502);
}

#[test]
fn a_batch_of_livechat_is_divided_and_its_answer_put_together() {
    let scopes = "accounts--all:rw";
    let narrow = Emulator::of("livechat", &["--token", &format!("T={scopes}")]);
    let wide = Emulator::of(
        "livechat",
        &["--token", &format!("T={scopes},accounts.roles.lc--all:rw")],
    );
    let mut gate = livechat(&wide.address, &[scopes]);
    for roles in [
        [None, Some("administrator"), None],
        [Some("administrator"), None, Some("owner")],
        [Some("owner"), Some("owner"), Some("owner")],
        [None, None, Some("administrator")],
    ] {
        let elements: Vec<Value> = roles
            .iter()
            .enumerate()
            .map(|(at, role)| {
                let mut element = json!({ "id": format!("{at}@example.com"), "name": "n" });
                if let Some(role) = role {
                    element["role"] = json!(role);
                }
                element
            })
            .collect();
        let body = json!({ "requests": elements }).to_string();
        let call = |address: &str| {
            let target = "/v3.6/configuration/action/batch_create_agents";
            let bytes = post(target, "application/json", &body);
            let text = String::from_utf8(bytes).unwrap();
            let text = text.replacen("\r\n", "\r\nauthorization: Bearer T\r\n", 1);
            exchange(address, text.as_bytes()).unwrap()
        };
        // What the vendor itself would say to a token that holds no more than the gate knows of.
        assert_eq!(
            call(&gate.address).json(),
            call(&narrow.address).json(),
            "{roles:?}"
        );
    }
    assert_eq!(gate.stop().code(), Some(0));
    let record = &gate.records_of("call.decision")[0];
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["children"][1]["reason"], "scope_missing");
}

#[test]
fn token_traffic_and_accounts_go_to_the_authorization_server() {
    for (vendor, traffic, judged) in [
        (
            "ringcentral",
            "POST /restapi/oauth/token",
            "GET /restapi/v1.0/account/~",
        ),
        ("livechat", "POST /v2/token", "GET /v2/accounts"),
    ] {
        let (api, accounts) = (Portal::start(), Portal::start());
        let mut gate = Setup::before(&api.address)
            .of(vendor)
            .with(&format!(
                "authorization_server = \"http://{}\"",
                accounts.address
            ))
            .grant("T", &["ReadAccounts", "accounts--my:ro"])
            .start();
        let split = |call: &str| {
            let (verb, target) = call.split_once(' ').unwrap();
            request(verb, target, "authorization: Bearer T\r\n")
        };
        let (verb, target) = traffic.split_once(' ').unwrap();
        let basic = "authorization: Basic YTpi\r\ncontent-length: 0\r\n";
        let login = request(verb, target, basic);
        assert_eq!(exchange(&gate.address, &login).unwrap().status, 200);
        assert_eq!((api.take().len(), accounts.take().len()), (0, 1));
        let answer = exchange(&gate.address, &split(judged)).unwrap();
        let refused = vendor == "livechat";
        assert_eq!(answer.status, if refused { 403 } else { 200 }, "{judged}");
        if refused {
            assert_eq!(answer.json()["sub_error"], "insufficient_scope");
        }
        assert_eq!(gate.stop().code(), Some(0));
        let record = &gate.records_of("call.decision")[0];
        assert_eq!(record["operation"], traffic);
        assert_eq!(record["reason"], "no_scope_needed");
        assert_eq!(record["destination"], accounts.address.as_str());
    }
}

#[test]
fn no_tunnel_is_opened_that_nobody_looks_into() {
    let portal = Portal::start();
    let gate = livechat(&portal.address, &["chats--all:rw"]);
    let upgrade = "authorization: Bearer T\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: \
                   13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let bytes = request("GET", "/v3.6/agent/rtm/ws?organization_id=O", upgrade);
    let answer = exchange(&gate.address, &bytes).unwrap();
    assert_eq!((answer.status, answer.reason()), (400, "upgrade_refused"));
    assert!(
        answer.text().contains("WebSocket (RTM)"),
        "{}",
        answer.text()
    );
    assert_eq!(portal.take().len(), 0);
}

#[test]
fn an_author_is_recorded_and_a_personal_token_is_told_from_others() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .of("livechat")
        .grant("acc:pat", &["chats--access:rw"])
        .start();
    let headers = "authorization: Basic YWNjOnBhdA==\r\nx-author-id: bot-7\r\nx-region: fra\r\ncontent-length: 0\r\n";
    let bytes = request("POST", "/v3.5/agent/action/send_event", headers);
    assert_eq!(exchange(&gate.address, &bytes).unwrap().status, 200);
    assert_eq!(portal.take()[0].header("x-region"), Some("fra"));
    assert_eq!(gate.stop().code(), Some(0));
    let record = &gate.records_of("call.decision")[0];
    assert_eq!(record["author"], "bot-7");
    assert_eq!(record["token"]["kind"], "pat");
    assert!(!record.to_string().contains("acc:pat"));
}

#[test]
fn emulated_logins_hand_out_the_tokens_in_turn_and_refreshes_replace_them() {
    for (vendor, target, login, refresh, call) in [
        (
            "ringcentral",
            "/restapi/oauth/token",
            "grant_type=password&client_id=i&username=u&password=p",
            "grant_type=refresh_token&client_id=i&refresh_token=",
            "GET /restapi/v1.0/account/~/call-log",
        ),
        (
            "livechat",
            "/v2/token",
            "grant_type=authorization_code&client_id=i&code=c",
            "grant_type=refresh_token&client_id=i&refresh_token=",
            "POST /v3.6/agent/action/list_chats",
        ),
    ] {
        let scopes = "ReadCallLog,chats--all:ro";
        let tokens = [format!("T1={scopes}"), format!("T2={scopes}")];
        let emulator = Emulator::of(vendor, &["--token", &tokens[0], "--token", &tokens[1]]);
        let form = |body: &str| {
            let bytes = post(target, "application/x-www-form-urlencoded", body);
            exchange(&emulator.address, &bytes).unwrap().json()
        };
        let answers: Vec<Value> = (0..3).map(|_| form(login)).collect();
        let handed: Vec<&str> = answers
            .iter()
            .map(|answer| answer["access_token"].as_str().unwrap())
            .collect();
        assert_eq!(handed, ["T1", "T2", "T1"]);
        let renewed = form(&format!("{refresh}refresh-T1"));
        let token = renewed["access_token"].as_str().unwrap();
        let (verb, target) = call.split_once(' ').unwrap();
        let headers = format!("authorization: Bearer {token}\r\ncontent-length: 0\r\n");
        let answer = exchange(&emulator.address, &request(verb, target, &headers)).unwrap();
        assert_eq!(answer.status, 200);
        let again = form(&format!("{refresh}refresh-T1"));
        assert!(
            again["access_token"].is_null(),
            "a refresh token is good once"
        );
    }
}

#[test]
fn the_emulators_answer_every_operation_that_has_a_path() {
    for (vendor, least) in [(Vendor::RingCentral, 670), (Vendor::LiveChat, 950)] {
        let catalogue = catalogue(vendor);
        let codes = all_scopes(&catalogue);
        let token = format!("T={}", codes.join(","));
        let emulator = Emulator::of(vendor.name(), &["--token", &token]);
        let mut client = support::Client::connect(&emulator.address);
        let mut answered = 0;
        for operation in catalogue.operations() {
            let Some(example) = vendor.example(&catalogue, &operation.name) else {
                // A frame of the socket, or one of three names for the same call.
                let frame = operation.provenance.note.contains("RTM");
                assert!(
                    frame
                        || operation.name.ends_with("greetings@2")
                        || operation.name.ends_with("rules@2"),
                    "{}",
                    operation.name
                );
                continue;
            };
            // Token traffic has its own test.
            let host = ["accounts/", "customer-accounts/"];
            let ends = host.iter().any(|host| operation.name.starts_with(host));
            if !example.wants_token || ends {
                continue;
            }
            let mut headers = "authorization: Bearer T\r\ncontent-length: 0\r\n".to_owned();
            for (name, value) in &example.headers {
                headers += &format!("{name}: {value}\r\n");
            }
            let bytes = request(&example.verb, &example.target, &headers);
            let answer = client.send(&bytes).answer_to(&example.verb).unwrap();
            assert!(
                answer.status < 300,
                "{}: {} {}",
                operation.name,
                answer.status,
                answer.text()
            );
            answered += 1;
        }
        assert!(answered >= least, "{vendor:?}: {answered}");
    }
}

#[test]
fn lists_of_ringcentral_name_their_other_pages_by_absolute_addresses() {
    let emulator = Emulator::of(
        "ringcentral",
        &["--token", "T=ReadCallLog", "--burst", "20"],
    );
    let list = |query: &str| {
        let target = format!("/restapi/v1.0/account/~/call-log{query}");
        exchange(
            &emulator.address,
            &request("GET", &target, "authorization: Bearer T\r\n"),
        )
        .unwrap()
    };
    let first = list("?perPage=50").json();
    let next = first["navigation"]["nextPage"]["uri"].as_str().unwrap();
    assert!(next.starts_with("http://gate/restapi/"), "{next}");
    assert_eq!(first["records"].as_array().unwrap().len(), 50);
    let last = list("?perPage=50&page=3").json();
    assert_eq!(last["records"].as_array().unwrap().len(), 20);
    assert!(last["navigation"]["nextPage"].is_null());
    let mut answers = (0..500).map(|_| list(""));
    let limited = answers.find(|answer| answer.status != 200).unwrap();
    assert_eq!(limited.status, 429);
    assert_eq!(limited.json()["errorCode"], "CMN-301");
    assert_eq!(limited.header("retry-after"), Some("60"));
}
