//! The emulated portal: what someone who rehearses relies on.

mod support;

use serde_json::{Value, json};
use support::{Answer, Emulator, exchange};

fn get(portal: &Emulator, target: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n\r\n", portal.address);
    exchange(&portal.address, request.as_bytes()).unwrap()
}

fn post(portal: &Emulator, target: &str, body: &Value) -> Answer {
    let request = support::post(target, "application/json", &body.to_string());
    exchange(&portal.address, &request).unwrap()
}

#[test]
fn the_portal_says_who_it_is_and_what_a_token_may() {
    let portal = Emulator::start(&["--token", "T=crm,user_brief", "--token", "1/S=crm"]);
    let result = |target: &str| get(&portal, target).json()["result"].clone();
    assert_eq!(result("/rest/scope?auth=T"), json!(["crm", "user_brief"]));
    assert_eq!(result("/rest/1/S/scope"), json!(["crm"]));
    assert_eq!(result("/rest/app.info/?auth=T")["STATUS"], "L");
    assert_eq!(result("/rest/profile.json?auth=T")["ID"], "1");
    assert_eq!(result("/rest/user.current?auth=T")["NAME"], "Ada");
    let method = |name: &str| result(&format!("/rest/method.get?auth=T&name={name}"));
    let yes = json!({"isExisting": true, "isAvailable": true});
    let closed = json!({"isExisting": true, "isAvailable": false});
    assert_eq!(method("crm.deal.list"), yes);
    assert_eq!(method("task.item.list"), closed);
    assert_eq!(method("no.such.thing")["isExisting"], false);
    let xml = get(&portal, "/rest/task.item.list.xml?auth=T").text();
    assert!(
        xml.starts_with("<response><error>insufficient_scope</error>"),
        "{xml}"
    );
}

#[test]
fn lists_come_in_pages() {
    let portal = Emulator::start(&["--token", "T=crm"]);
    let page = |query: &str| get(&portal, &format!("/rest/crm.lead.list?auth=T&{query}")).json();
    let first = page("start=0");
    assert_eq!((&first["total"], &first["next"]), (&json!(120), &json!(50)));
    let last = page("start=100");
    assert_eq!(
        (last["result"].as_array().unwrap().len(), &last["next"]),
        (20, &Value::Null)
    );
    let quick = page("start=-1&filter[%3EID]=50");
    assert_eq!(quick["result"][0]["ID"], "51");
    assert_eq!(quick["total"], Value::Null);
}

#[test]
fn tokens_expire_and_are_renewed_once() {
    let portal = Emulator::start(&["--token", "T=crm,user", "--expires-in", "0"]);
    let expired = get(&portal, "/rest/crm.deal.list?auth=T");
    assert_eq!(
        (expired.status, &expired.json()["error"]),
        (401, &json!("expired_token"))
    );
    let refresh =
        "/oauth/token/?grant_type=refresh_token&client_id=a&client_secret=s&refresh_token=";
    let renewed = get(&portal, &format!("{refresh}refresh-T")).json();
    for field in [
        "access_token",
        "refresh_token",
        "expires",
        "expires_in",
        "client_endpoint",
        "server_endpoint",
        "domain",
        "member_id",
        "user_id",
        "status",
    ] {
        assert!(!renewed[field].is_null(), "{field} in {renewed}");
    }
    assert_eq!(renewed["scope"], "crm,user");
    let again = get(&portal, &format!("{refresh}refresh-T"));
    assert_eq!(
        (again.status, &again.json()["error"]),
        (400, &json!("invalid_grant"))
    );
    let next = renewed["refresh_token"].as_str().unwrap();
    assert_eq!(get(&portal, &format!("{refresh}{next}")).status, 200);
}

#[test]
fn the_portal_has_its_limits() {
    let portal = Emulator::start(&[
        "--token",
        "T=crm",
        "--burst",
        "2",
        "--blocked",
        "crm.deal.get",
    ]);
    let blocked = get(&portal, "/rest/crm.deal.get?auth=T&id=1");
    assert_eq!(
        (blocked.status, &blocked.json()["error"]),
        (429, &json!("OPERATION_TIME_LIMIT"))
    );
    let statuses: Vec<u16> = (0..8)
        .map(|_| get(&portal, "/rest/crm.deal.list?auth=T").status)
        .collect();
    assert!(statuses.contains(&503), "{statuses:?}");
}

#[test]
fn batches_run_their_commands() {
    let portal = Emulator::start(&["--token", "T=crm,tasks,main"]);
    let commands = json!({"first": "crm.lead.list?start=50", "one": "crm.lead.get?id=$result[first][0][ID]", "no": "user.get", "b": "batch"});
    let answer = post(
        &portal,
        "/rest/batch",
        &json!({"cmd": commands, "auth": "T"}),
    )
    .json();
    let result = &answer["result"];
    assert_eq!(
        result["result"]["one"]["ID"], "51",
        "the reference was followed"
    );
    assert_eq!(result["result_total"]["first"], 120);
    assert_eq!(result["result_next"]["first"], 100);
    assert_eq!(
        result["result_error"]["no"],
        json!({"error": "insufficient_scope", "error_description": ""})
    );
    assert_eq!(
        result["result_error"]["b"]["error"],
        "ERROR_BATCH_METHOD_NOT_ALLOWED"
    );
    let halted = post(
        &portal,
        "/rest/batch",
        &json!({"cmd": ["user.get", "crm.lead.list"], "halt": 1, "auth": "T"}),
    )
    .json();
    assert_eq!(
        halted["result"]["result"],
        json!([]),
        "halt stops at the first error"
    );
    let items = json!({"0": {"method": "tasks.task.get", "query": {"id": 7}, "as": "a"}, "1": {"method": "main.eventlog.list"}, "auth": "T"});
    let third = post(&portal, "/rest/api/batch", &items).json();
    assert_eq!(third["result"]["a"]["item"]["id"], 7);
}
