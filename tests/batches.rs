//! Batches through the gate: what is left of them arrives byte for byte, and the answer is the one that the portal would
//! have given to a token with those scopes.

mod support;

use serde_json::{Value, json};
use support::gate::Setup;
use support::portal::{Reply, ok};
use support::{Emulator, Gate, Portal, exchange, post};

fn json_post(target: &str, body: &Value) -> Vec<u8> {
    post(target, "application/json", &body.to_string())
}

const FORM: &str = "application/x-www-form-urlencoded";

/// A gate whose token holds only `crm`, and the portal behind it.
fn narrow(portal: &Portal) -> Gate {
    Setup::before(&portal.address).grant("T", &["crm"]).start()
}

/// The answer without what differs from run to run, and without texts, which the gate writes and the portal does not.
fn comparable(mut answer: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.shift_remove("time");
                map.shift_remove("error_description");
                if let Some(times) = map.get_mut("result_time") {
                    *times = json!(keys(times));
                }
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut answer);
    answer
}

fn keys(array: &Value) -> Vec<String> {
    match array {
        Value::Object(map) => map.keys().cloned().collect(),
        Value::Array(list) => (0..list.len()).map(|at| at.to_string()).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_divided_batch_is_answered_as_the_portal_would_have() {
    let portal = Emulator::start(&[
        "--token",
        "W=crm,user,task",
        "--token",
        "N=crm",
        "--blocked",
        "crm.deal.get",
    ]);
    let gate = Setup::before(&portal.address).grant("W", &["crm"]).start();
    let crm = "crm.lead.get?id=1";
    for (name, commands, halt) in [
        (
            "a list",
            json!([crm, "user.current", "crm.lead.list?start=50"]),
            json!(0),
        ),
        ("the first", json!(["user.current", crm, crm]), json!(0)),
        ("the last", json!([crm, crm, "task.item.list"]), json!(0)),
        (
            "two in the middle",
            json!([crm, "user.current", "task.item.list", crm]),
            json!(0),
        ),
        (
            "a map",
            json!({"a": crm, "b": "user.current", "c": "crm.deal.list"}),
            json!(0),
        ),
        ("numbers", json!({"1": crm, "0": "user.current"}), json!(0)),
        (
            "none is left",
            json!(["user.current", "task.item.list"]),
            json!(0),
        ),
        (
            "none is left of a map",
            json!({"x": "user.current"}),
            json!(0),
        ),
        (
            "errors of both",
            json!({"x": "user.current", "y": "crm.deal.get", "z": crm}),
            json!(0),
        ),
        (
            "halt",
            json!([crm, "user.current", crm, "task.item.list"]),
            json!(1),
        ),
        ("halt at once", json!(["user.current", crm]), json!("on")),
        (
            "halt before",
            json!(["crm.no.such.method", "user.current", crm]),
            json!(true),
        ),
        ("all permitted", json!([crm, "crm.deal.list"]), json!(0)),
        ("nothing", json!([]), json!(0)),
    ] {
        let body = |token: &str| json!({"cmd": commands, "halt": halt, "auth": token});
        let direct = exchange(&portal.address, &json_post("/rest/batch", &body("N"))).unwrap();
        let through = exchange(&gate.address, &json_post("/rest/batch", &body("W"))).unwrap();
        assert_eq!(through.status, 200, "{name}: {}", through.text());
        assert_eq!(
            comparable(through.json()).to_string(),
            comparable(direct.json()).to_string(),
            "{name}: the same, in the same order"
        );
    }
}

#[test]
fn what_is_left_of_a_batch_arrives_byte_for_byte_under_its_own_keys() {
    let portal = Portal::start();
    let gate = narrow(&portal);
    let part = |name: &str, text: &str| {
        format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    };
    let multipart = |parts: &[(&str, &str)]| {
        let parts: String = parts.iter().map(|(name, text)| part(name, text)).collect();
        format!("{parts}--X--\r\n")
    };
    for (kind, sent, arrives) in [
        (
            "application/json",
            r#"{"auth":"T", "cmd" : {"a": "crm.lead.get?id=1" , "b":"user.get","c":"crm.deal.get?id=2&x=\u0041"} ,"halt":0 }"#.to_owned(),
            r#"{"auth":"T", "cmd" : {"a": "crm.lead.get?id=1","c":"crm.deal.get?id=2&x=\u0041"} ,"halt":0 }"#.to_owned(),
        ),
        (
            "application/json",
            r#"{"cmd":[ "user.get", "crm.lead.get?id=1","user.get" ,"crm.deal.list" ],"auth":"T"}"#.to_owned(),
            r#"{"cmd":{"1":"crm.lead.get?id=1","3":"crm.deal.list" },"auth":"T"}"#.to_owned(),
        ),
        (
            "application/json",
            r#"{"cmd":{"a":"crm.lead.get" , "b":"user.get" },"auth":"T"}"#.to_owned(),
            r#"{"cmd":{"a":"crm.lead.get"},"auth":"T"}"#.to_owned(),
        ),
        (
            FORM,
            "cmd[]=user.get&cmd%5B%5D=crm.lead.get%3Fid%3D1&auth=T&cmd[]=crm.deal.list&x=y".to_owned(),
            "&cmd%5B1%5D=crm.lead.get%3Fid%3D1&auth=T&cmd%5B2%5D=crm.deal.list&x=y".to_owned(),
        ),
        (
            FORM,
            "auth=T&cmd[a]=crm.lead.get&cmd[b]=user.get".to_owned(),
            "auth=T&cmd[a]=crm.lead.get&".to_owned(),
        ),
        (
            "multipart/form-data; boundary=X",
            multipart(&[("auth", "T"), ("cmd[]", "user.get"), ("cmd[]", "crm.lead.get"), ("x", "y")]),
            multipart(&[("auth", "T"), ("cmd[1]", "crm.lead.get"), ("x", "y")]),
        ),
    ] {
        let answer = exchange(&gate.address, &post("/rest/batch", kind, &sent)).unwrap();
        assert_eq!(answer.status, 200, "{sent}: {}", answer.text());
        let received = portal.take();
        assert_eq!(String::from_utf8_lossy(&received[0].body), arrives, "{sent}");
        assert_eq!(received[0].header("accept-encoding"), Some("identity"));
    }
    let target = "/rest/batch?cmd[a]=user.get&auth=T&cmd[b]=crm.lead.get";
    let head = format!("GET {target} HTTP/1.1\r\nhost: gate\r\n\r\n");
    assert_eq!(
        exchange(&gate.address, head.as_bytes()).unwrap().status,
        200
    );
    assert_eq!(
        portal.take()[0].target,
        "/rest/batch?&auth=T&cmd[b]=crm.lead.get"
    );
}

#[test]
fn only_an_answer_of_the_expected_shape_is_changed() {
    let answers: [(&str, &str); 8] = [
        ("application/json", r#"{"error":"QUERY_LIMIT_EXCEEDED"}"#),
        ("application/json", r#"{"result":[]}"#),
        ("application/json", r#"{"result":{"result":[]}}"#),
        ("application/json", r#"{"result":{"result_error":"x"}}"#),
        (
            "application/json",
            r#"{"result":{"result":{"result_error":[]}}}"#,
        ),
        ("application/json", r#"{"result":{"result_error":[1,"#),
        ("application/json", "no json"),
        ("text/html", r#"{"result":{"result_error":[]}}"#),
    ];
    for (kind, body) in answers {
        let portal = Portal::scripted(move |_| {
            let length = body.len();
            Reply::Bytes(
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
                    .into_bytes(),
            )
        });
        let gate = narrow(&portal);
        let request = json_post(
            "/rest/batch",
            &json!({"auth": "T", "cmd": ["user.get", "crm.lead.get"]}),
        );
        let answer = exchange(&gate.address, &request).unwrap();
        assert_eq!(answer.text(), body, "{kind}");
    }
}

#[test]
fn a_large_answer_is_spliced_while_it_streams() {
    let rows = "x".repeat(3 << 20);
    let body = format!(
        r#"{{"result":{{"result":{{"1":"{rows}"}},"result_error":{{"2":{{"error":"E"}}}},"result_total":[]}},"time":{{}}}}"#
    );
    let sent = body.clone();
    let portal = Portal::scripted(move |_| Reply::Bytes(ok(&sent)));
    let gate = narrow(&portal);
    let request = json_post(
        "/rest/batch",
        &json!({"auth": "T", "cmd": ["user.get", "crm.lead.get", "crm.deal.get"]}),
    );
    let answer = exchange(&gate.address, &request).unwrap();
    let (before, after) = body.split_once(r#"{"2":{"error":"E"}}"#).unwrap();
    let text = answer.text();
    assert!(text.starts_with(before) && text.ends_with(after));
    let errors = answer.json()["result"]["result_error"].clone();
    assert_eq!(keys(&errors), ["0", "2"]);
    assert_eq!(errors["0"]["error"], "insufficient_scope");
}

#[test]
fn the_record_of_a_batch_shows_every_member() {
    let portal = Portal::start();
    let mut gate = narrow(&portal);
    let commands = json!({"a": "crm.lead.get", "b": "user.get", "c": "event.bind?event=ONCRMDEALADD&handler=https%3A%2F%2Fu%3Ap%40app.example%3A8443%2Fx%3Fsecret%3D1"});
    let request = json_post("/rest/batch", &json!({"auth": "T", "cmd": commands}));
    assert_eq!(exchange(&gate.address, &request).unwrap().status, 200);
    gate.stop();
    let record = &gate.records_of("call.decision")[0];
    assert_eq!(record["operation"], "batch");
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["reason"], "batch_member_denied");
    assert_eq!(
        record["children"],
        json!([
            {"key": "a", "operation": "crm.lead.get", "verdict": "allow", "reason": "permitted"},
            {"key": "b", "operation": "user.get", "verdict": "deny", "reason": "scope_missing", "missing": ["user"]},
            {"key": "c", "operation": "event.bind", "verdict": "allow", "reason": "permitted"},
        ])
    );
    assert_eq!(record["handlers"], json!(["app.example:8443"]));
}

#[test]
fn a_batch_may_be_refused_whole() {
    let portal = Portal::start();
    let gate = Setup::before(&portal.address)
        .grant("T", &["crm"])
        .with("batch = \"reject\"")
        .start();
    let body = json!({"auth": "T", "cmd": ["crm.lead.get", "user.get"]});
    let answer = exchange(&gate.address, &json_post("/rest/batch", &body)).unwrap();
    assert_eq!(
        (answer.status, answer.reason()),
        (403, "batch_member_denied")
    );
    assert_eq!(answer.json()["error"], "insufficient_scope");
    let missing = "Bearer error=\"insufficient_scope\", scope=\"user\"";
    assert_eq!(answer.header("www-authenticate"), Some(missing));
    assert_eq!(portal.received(), []);
}

#[test]
fn a_batch_in_report_goes_on_whole_and_rules_hold_for_members() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .grant("T", &["crm"])
        .with("mode = \"report\"")
        .rule("operations = [\"user.*\"]\nmode = \"enforce\"")
        .start();
    let send = |commands: Value| {
        let body = json!({"auth": "T", "cmd": commands});
        let answer = exchange(&gate.address, &json_post("/rest/batch", &body)).unwrap();
        (
            answer.status,
            portal
                .take()
                .pop()
                .map(|one| String::from_utf8(one.body).unwrap()),
        )
    };
    let whole = json!(["task.item.list", "crm.deal.add"]);
    let expected = json!({"auth": "T", "cmd": whole}).to_string();
    assert_eq!(
        send(whole),
        (200, Some(expected)),
        "what is only watched goes on"
    );
    let (status, left) = send(json!(["user.get", "task.item.list", "crm.lead.get"]));
    let expected = r#"{"auth":"T","cmd":{"1":"task.item.list","2":"crm.lead.get"}}"#;
    assert_eq!((status, left.as_deref()), (200, Some(expected)));
    gate.stop();
    let words: Vec<String> = gate
        .records_of("call.decision")
        .iter()
        .map(|record| format!("{} {}", record["decision"], record["reason"]).replace('"', ""))
        .collect();
    assert_eq!(
        words,
        [
            "would_deny batch_member_denied",
            "allow batch_member_denied"
        ]
    );
}

#[test]
fn more_than_fifty_commands_are_refused_whole() {
    let portal = Portal::start();
    let gate = narrow(&portal);
    let send = |count: usize| {
        let commands = vec!["crm.lead.get"; count];
        let body = json!({"auth": "T", "cmd": commands});
        exchange(&gate.address, &json_post("/rest/batch", &body)).unwrap()
    };
    assert_eq!(send(50).status, 200);
    let answer = send(51);
    assert_eq!((answer.status, answer.reason()), (400, "batch_too_long"));
    assert_eq!(answer.json()["error"], "ERROR_BATCH_LENGTH_EXCEEDED");
    assert_eq!(portal.received().len(), 1);
}

#[test]
fn large_bodies_wait_in_a_file_and_arrive_as_they_came() {
    let portal = Portal::start();
    let gate = narrow(&portal);
    let file: String = (0..3_000_000_u32)
        .map(|at| char::from(b'a' + u8::try_from(at % 23).unwrap()))
        .collect();
    let single = json!({"auth": "T", "fields": {"FILE": file}}).to_string();
    let answer = exchange(
        &gate.address,
        &post("/rest/crm.deal.add", "application/json", &single),
    );
    assert_eq!(answer.unwrap().status, 200);
    assert!(portal.take()[0].body == single.as_bytes(), "unchanged");
    let commands = json!({"u": format!("user.get?x={file}"), "c": format!("crm.deal.add?x={file}"), "d": "crm.lead.get"});
    let batch = json!({"cmd": commands, "auth": "T"}).to_string();
    let answer = exchange(
        &gate.address,
        &post("/rest/batch", "application/json", &batch),
    );
    assert_eq!(answer.unwrap().status, 200);
    let left = json!({"c": format!("crm.deal.add?x={file}"), "d": "crm.lead.get"});
    let expected = json!({"cmd": left, "auth": "T"}).to_string();
    assert!(
        portal.take()[0].body == expected.as_bytes(),
        "what is left is unchanged"
    );
}

#[test]
fn a_large_body_stays_in_memory_where_there_is_no_place_for_a_file() {
    let portal = Portal::start();
    let gate = narrow(&portal);
    // The journal's own file is open; no other can be made.
    std::fs::remove_dir_all(gate.state_dir()).unwrap();
    let body = json!({"auth": "T", "fields": {"FILE": "x".repeat(2 << 20)}}).to_string();
    let request = post("/rest/crm.deal.add", "application/json", &body);
    assert_eq!(exchange(&gate.address, &request).unwrap().status, 200);
    assert!(portal.take()[0].body == body.as_bytes(), "unchanged");
}
