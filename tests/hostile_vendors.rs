//! RingCentral and LiveChat under raw bytes: a token that holds every scope gets nothing through that the vendor could read
//! otherwise. Each request is refused with a 4xx in the vendor's shape, has its record, and reaches nobody.

mod support;

use grantgate::catalogue::Catalogue;
use grantgate::vendor::Vendor;
use support::Portal;
use support::gate::Setup;

fn body(verb: &str, target: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{verb} {target} HTTP/1.1\r\nhost: gate\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

fn bare(verb: &str, target: &str, headers: &str) -> String {
    format!("{verb} {target} HTTP/1.1\r\nhost: gate\r\n{headers}\r\n")
}

const TOKEN: &str = "authorization: Bearer T\r\n";
const JSON: &str = "authorization: Bearer T\r\ncontent-type: application/json\r\n";

fn refuse_all(vendor: Vendor, requests: &[String]) {
    let catalogue = Catalogue::parse(vendor.bundled_catalogue()).unwrap();
    let scopes: Vec<&str> = catalogue
        .scopes()
        .iter()
        .map(|info| info.code.as_ref())
        .collect();
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .of(vendor.name())
        .grant("T", &scopes)
        .start();
    for request in requests {
        let answer = support::exchange(&gate.address, request.as_bytes())
            .unwrap_or_else(|| panic!("no answer to {request:?}"));
        assert!(
            (400..500).contains(&answer.status),
            "{request:?}: {} {}",
            answer.status,
            answer.text()
        );
        assert!(answer.json().is_object(), "{request:?}");
        assert!(!answer.reason().is_empty(), "{request:?}");
        assert_eq!(portal.take(), [], "{request:?} reached the vendor");
    }
    assert_eq!(gate.stop().code(), Some(0));
    let decisions = gate.records_of("call.decision");
    assert_eq!(decisions.len(), requests.len(), "each has its record");
    assert!(decisions.iter().all(|record| record["decision"] == "deny"));
}

#[test]
fn nothing_unclear_passes_to_ringcentral() {
    let log = "/restapi/v1.0/account/~/extension/~/call-log";
    let subscription = "/restapi/v1.0/subscription";
    let hook = r#""deliveryMode":{"transportType":"WebHook","address":"https://a.example"}"#;
    let filters = r#""eventFilters":["/restapi/v1.0/account/~/extension"]"#;
    let mut requests: Vec<String> = [
        "/restapi/v1.0/account/~/extension/~/call-log/",
        "/restapi/v1.0//account/~/extension/~/call-log",
        "//restapi/v1.0/account/~/extension/~/call-log",
        "/restapi/v1.0/account/~/extension/./~/call-log",
        "/restapi/v1.0/account/~/extension/~/x/../call-log",
        "/restapi/v1.0/account/~/extension/%2e%2e/call-log",
        "/restapi/v1.0/account/~/extension/~%2Fcall-log",
        "/restapi/v1.0/account/~/extension/~%5ccall-log",
        "/restapi/v1.0/account/~/extension/~%00/call-log",
        "/restapi/v1.0/account/~/extension/%257E/call-log",
        "/restapi/v1.0/account/~/extension/~;a=b/call-log",
        "/restapi/v1.0/account/~/extension/~/call-log;a=b",
        "/restapi/v1.0/account/~/extension/~/Call-Log",
        "/restapi/v1.0/account/~/extension/~/call%2Dlog",
        "/RESTAPI/v1.0/account/~/extension/~/call-log",
        "/restapi/V1.0/account/~/extension/~/call-log",
        "/restapi/v1.0/account/~/user-role/%44efault",
        "/restapi/OAuth/wstoken",
        "/restapi/v3/account/~",
    ]
    .into_iter()
    .map(|target| bare("GET", target, TOKEN))
    .collect();
    requests.extend([
        bare("POST", "/restapi/oauth/token/", TOKEN),
        bare("POST", "/restapi/oauth/%74oken", ""),
        bare("POST", "/restapi/oauth/token?_method=DELETE", ""),
        bare("POST", "/restapi/oauth/revoke", TOKEN),
        bare(
            "GET",
            log,
            "authorization: Bearer T\r\nauthorization: Bearer T\r\n",
        ),
        bare("GET", &format!("{log}?access_token=T"), TOKEN),
        bare("GET", &format!("{log}?access_token=T&access_token=T"), ""),
        bare("GET", &format!("{log}?access%5Ftoken=T"), ""),
        bare("GET", &format!("{log}??x=1"), TOKEN),
        bare("GET", &format!("{log}?ACCESS_TOKEN=U"), TOKEN),
        bare("GET", &format!("{log}?x=1;access_token=U"), TOKEN),
        bare("GET", &format!("{log}?access_token=a%00b"), ""),
        bare("GET", log, "authorization: Basic VDpU\r\n"),
        bare("GET", log, "authorization: Bearer T, Bearer U\r\n"),
        bare(
            "GET",
            log,
            &format!("{TOKEN}x-http-method-override: DELETE\r\n"),
        ),
        bare("POST", &format!("{log}?_method=DELETE&_method=PUT"), TOKEN),
        bare("POST", &format!("{log}?_METHOD=DELETE"), TOKEN),
        bare("POST", &format!("{log}?_method=GET"), TOKEN),
        bare("POST", &format!("{log}?_method=OPTIONS"), TOKEN),
        bare(
            "POST",
            &format!("{log}?_method=DELETE"),
            &format!("{TOKEN}x-http-method-override: PUT\r\n"),
        ),
        bare(
            "POST",
            log,
            &format!("{TOKEN}x-http-method-override: DELETE\r\nx-http-method-override: DELETE\r\n"),
        ),
        bare("POST", log, &format!("{TOKEN}x-http-method: DELETE\r\n")),
        bare(
            "POST",
            log,
            &format!("{TOKEN}x_http_method_override: DELETE\r\n"),
        ),
        bare("DELETE", log, &format!("{TOKEN}x-method-override: GET\r\n")),
        bare(
            "POST",
            "/restapi/v1.0/account/~/extension/~",
            &format!(
                "{TOKEN}x-http-method-override: PUT\r\nconnection: x-http-method-override\r\n"
            ),
        ),
    ]);
    let with_body = |text: &str| body("POST", subscription, JSON, text);
    requests.extend([
        with_body(&format!("{{{filters},{hook},{filters}}}")),
        with_body(&format!("{{{filters},{hook},{hook}}}")),
        with_body(&format!("{{{filters},{hook},\"EventFilters\":[]}}")),
        with_body(&format!(
            "{{{filters},\"deliveryMode\":{{\"transportType\":\"WebHook\",\"transportType\":\"WebSocket\"}}}}"
        )),
        with_body(&format!("{{{filters},\"deliveryMode\":{{\"TransportType\":\"WebHook\"}}}}")),
        with_body(&format!("{{\"eventFilters\":\"/restapi/v1.0/account/~/extension\",{hook}}}")),
        with_body(&format!("{{\"eventFilters\":[[\"/restapi/v1.0/account/~/extension\"]],{hook}}}")),
        with_body(&format!("{{\"eventFilters\":[\"/restapi/v1.0/account/~/Extension\"],{hook}}}")),
        with_body(&format!(
            "{{\"eventFilters\":[\"https://platform.ringcentral.com/restapi/v1.0/account/~/extension\"],{hook}}}"
        )),
        with_body(&format!("[{{{filters},{hook}}}]")),
        with_body(&format!("{{{filters},{hook}}} x")),
        with_body(&format!("\u{feff}{{{filters},{hook}}}")),
        with_body("{}"),
        with_body(&format!("{{{filters},{hook},\"event\u{131}\":1,\"del\u{131}veryMode\":{{}}}}")),
        with_body(&format!("{{{filters},{hook},\"delivery_mode\":{{\"transportType\":\"WebSocket\"}}}}")),
        with_body(&format!("{{{filters},{hook},\"transportType\":\"WebSocket\"}}")),
        body(
            "POST",
            "/restapi/v1.0/account/~/directory/entries/search",
            &format!("{TOKEN}content-type: Application/X-WWW-Form-urlencoded ;charset=utf-8\r\n"),
            "access_token=U",
        ),
        body(
            "POST",
            "/restapi/v1.0/account/~/directory/entries/search",
            &format!("{JSON}content-type: application/x-www-form-urlencoded\r\n"),
            "access_token=U",
        ),
        body(
            "POST",
            subscription,
            &format!("{TOKEN}content-type: text/json\r\n"),
            &format!("{{{filters},{hook}}}"),
        ),
        body(
            "POST",
            subscription,
            &format!("{JSON}content-encoding: gzip\r\n"),
            &format!("{{{filters},{hook}}}"),
        ),
    ]);
    refuse_all(Vendor::RingCentral, &requests);
}

#[test]
fn nothing_unclear_passes_to_livechat() {
    let send = "/v3.6/agent/action/send_event";
    let update = "/v3.6/configuration/action/update_agent";
    let batch = "/v3.6/configuration/action/batch_create_agents";
    let mut requests: Vec<String> = [
        "/v3.6/agent/action/send_event/",
        "/v3.6/agent/action//send_event",
        "/v3.6/agent/action/SEND_EVENT",
        "/v3.6/Agent/action/send_event",
        "/V3.6/agent/action/send_event",
        "/v3.6/agent/action/send%5Fevent",
        "/v3.6/agent/action/%73end_event",
        "/v3.6/agent/action/list_chats/../send_event",
        "/v3.6/agent/action/list_chats%2f..%2fsend_event",
        "/v3.6/agent/action/send_event;x=1",
        "/v3.60/agent/action/send_event",
        "/v3.8/agent/action/send_event",
        "/v3/agent/action/send_event",
        "/agent/action/send_event",
        "/@2/agents",
    ]
    .into_iter()
    .map(|target| body("POST", target, JSON, "{}"))
    .collect();
    requests.extend([
        body("POST", send, &format!("{JSON}x-api-version: 3.5\r\n"), "{}"),
        body(
            "POST",
            "/agent/action/send_event",
            &format!("{JSON}x-api-version: 3.6\r\nx-api-version: 3.5\r\n"),
            "{}",
        ),
        body(
            "POST",
            "/agent/action/send_event",
            &format!("{JSON}x-api-version: ../v3.6\r\n"),
            "{}",
        ),
        body("POST", send, &format!("{JSON}x-author-id: bot\r\n"), "{}"),
        body("POST", send, &format!("{JSON}x_author_id: bot\r\n"), "{}"),
        body("POST", send, &format!("{JSON}x_api_version: 3.3\r\n"), "{}"),
        body(
            "POST",
            "/agent/action/send_event",
            &format!("{JSON}x-api-version: 3.6\r\nconnection: X-API-Version\r\n"),
            "{}",
        ),
        body(
            "POST",
            "/v3.5/agent/action/send_event",
            &format!("{JSON}x-author-id: bot\r\nconnection: close, x-author-id\r\n"),
            "{}",
        ),
        body(
            "POST",
            "/v3.5/agent/action/send_event",
            &format!("{JSON}x-author-id: a\r\nx-author-id: b\r\n"),
            "{}",
        ),
        body(
            "POST",
            send,
            &format!("{JSON}authorization: Bearer U\r\n"),
            "{}",
        ),
        body("POST", send, "authorization: Digest T\r\n", "{}"),
        body("POST", &format!("{send}??access_token=U"), JSON, "{}"),
        body("POST", send, "authorization: Basic %%%\r\n", "{}"),
        body(
            "POST",
            send,
            &format!("{JSON}x-http-method-override: GET\r\n"),
            "{}",
        ),
        bare("GET", send, TOKEN),
        bare("GET", "/v2/token", TOKEN),
        bare("POST", "/v2/token/", ""),
        bare("POST", "/V2/token", ""),
        bare("GET", "/v2//info", ""),
        bare("DELETE", "/v2/%74oken", ""),
        body(
            "POST",
            update,
            JSON,
            r#"{"id":"a","role":"x","role":"normal"}"#,
        ),
        body("POST", update, JSON, r#"{"id":"a","ROLE":"x"}"#),
        body(
            "POST",
            update,
            JSON,
            r#"{"id":"a","r\u006fle":"x","role":"y"}"#,
        ),
        body("POST", update, JSON, r#"[{"id":"a"}]"#),
        body("POST", update, JSON, r#"{"id":"a"}{"role":"x"}"#),
        body("POST", update, JSON, r"{'id':'a'}"),
        body("POST", update, JSON, r#"{"id":"a","role":"x""#),
        body(
            "POST",
            update,
            &format!("{TOKEN}content-type: application/x-www-form-urlencoded\r\n"),
            "id=a&role=x",
        ),
        body("POST", update, TOKEN, r#"{"id":"a","role":"x"}"#),
        body(
            "POST",
            update,
            &format!("{JSON}content-encoding: br\r\n"),
            r#"{"id":"a"}"#,
        ),
        body(
            "POST",
            batch,
            JSON,
            r#"{"requests":[{"id":"a"}],"requests":[]}"#,
        ),
        body("POST", batch, JSON, r#"{"Requests":[{"id":"a"}]}"#),
        body(
            "POST",
            batch,
            JSON,
            r#"{"requests":[{"id":"a","payload":{"role":"owner"}}]}"#,
        ),
        body(
            "POST",
            update,
            JSON,
            "{\"id\":\"a\",\"awa\u{131}ting_approval\":false}",
        ),
        body(
            "POST",
            send,
            &format!("{TOKEN}content-type: application/x-www-form-urlencoded\r\n"),
            "access_token=U",
        ),
        body(
            "PUT",
            "/agents/x?_method=DELETE",
            &format!("{JSON}x-api-version: 2\r\n"),
            "{}",
        ),
        bare("GET", "/v2/accounts/me?code%5B%5D=U", TOKEN),
        bare("GET", "/v2/accounts/me?access-token=U", TOKEN),
        body("POST", batch, JSON, r#"{"requests":{"0":{"id":"a"}}}"#),
        body("POST", batch, JSON, r#"{"requests":[{"id":"a"},null]}"#),
        body(
            "POST",
            batch,
            JSON,
            r#"{"requests":[{"id":"a","role":"b","role":"c"}]}"#,
        ),
    ]);
    refuse_all(Vendor::LiveChat, &requests);
}
