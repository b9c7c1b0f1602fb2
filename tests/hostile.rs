//! The twelve rules, held against raw bytes: the native error, and nothing upstream.

mod support;

use support::gate::Setup;
use support::{Client, Gate, Portal};

const TOKEN: &str = "canary-access-token-0001";

/// A gate whose token holds every scope that these requests could need: what is refused is refused for its shape.
fn gate(portal: &Portal) -> Gate {
    Setup::before(&portal.address)
        .grant(TOKEN, &["crm", "user", "task"])
        .grant("1/hooksecret", &["crm", "user", "task"])
        .start()
}

fn head(target: &str, more: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: gate\r\n{more}\r\n")
}

fn authorized(target: &str) -> String {
    head(target, &format!("authorization: Bearer {TOKEN}\r\n"))
}

fn post(target: &str, kind: &str, body: &str) -> String {
    String::from_utf8(support::post(target, kind, body)).unwrap()
}

/// Sends each request on a connection of its own and checks the answer's status, code and reason; then that the
/// portal has seen nothing, and that each has its record.
fn refuse_all(cases: &[(String, u16, &str, &str)]) {
    let portal = Portal::start();
    let mut gate = gate(&portal);
    for (request, status, code, reason) in cases {
        let answer = support::exchange(&gate.address, request.as_bytes())
            .unwrap_or_else(|| panic!("no answer to {request:?}"));
        assert_eq!(answer.status, *status, "{request:?}: {}", answer.text());
        assert_eq!(answer.json()["error"], *code, "{request:?}");
        assert_eq!(answer.reason(), *reason, "{request:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(portal.received(), [], "nothing reaches the portal");
    gate.stop();
    let decisions = gate.records_of("call.decision");
    assert_eq!(decisions.len(), cases.len(), "each has its record");
    for (record, (request, _, _, reason)) in decisions.iter().zip(cases) {
        assert_eq!(
            (&record["decision"], &record["reason"]),
            (&"deny".into(), &(*reason).into()),
            "{request:?}"
        );
    }
    assert_eq!(gate.records_of("call.completion").len(), cases.len());
}

fn ambiguous(reason: &'static str, requests: Vec<String>) {
    let cases: Vec<_> = requests
        .into_iter()
        .map(|request| (request, 400, "INVALID_REQUEST", reason))
        .collect();
    refuse_all(&cases);
}

#[test]
fn rule_1_a_path_of_no_documented_shape_is_refused() {
    ambiguous(
        "ambiguous_operation",
        [
            "/rest/a/b",
            "/rest/a/b?method=crm.deal.list",
            "/rest/a/b/c/d",
            "/rest/crm%2Edeal%2Elist",
            "/rest/user.current%2F..%2Fcrm.lead.add",
            "/rest/../rest/crm.deal.list",
            "/rest/./crm.deal.list",
            "/rest///crm.deal.list",
            "//rest/crm.deal.list",
            "/REST/crm.deal.list",
            "/rest/crm.deal.list;x",
            "/rest/crm.deal.list\\x",
            "/rest/crm.deal.list.JSON",
            "/rest/crm..deal",
            "/rest/",
            "/rest/.json",
            "/rest/crm.deal.list//",
            "/x/%2e%2e/rest/crm.deal.list",
            "/rest/crm.deal.lis\u{212a}",
            "/rest/{x}",
        ]
        .into_iter()
        .map(authorized)
        .collect(),
    );
}

#[test]
fn rule_2_framing_that_can_be_read_twice_is_refused() {
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    let with = |fields: &str, body: &str| {
        format!(
            "POST /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {TOKEN}\r\n{fields}\r\n{body}"
        )
    };
    ambiguous(
        "ambiguous_framing",
        vec![
            with(
                "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
                chunked,
            ),
            with("transfer-encoding: identity, chunked\r\n", chunked),
            with("transfer-encoding: gzip, chunked\r\n", chunked),
            with("transfer-encoding: chunked, chunked\r\n", chunked),
            "GET /rest/crm.deal.list HTTP/1.1\r\n\r\n".to_owned(),
            "GET /rest/crm.deal.list HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
            "GET /rest/crm.deal.list HTTP/1.1\r\nhost: a, b\r\n\r\n".to_owned(),
            "GET /rest/crm.deal.list HTTP/1.1\r\nhost: a@b\r\n\r\n".to_owned(),
            "GET http://other/rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\n\r\n".to_owned(),
            head(
                "/rest/crm.deal.list",
                &format!("authorization: Bearer {TOKEN}\r\nconnection: authorization\r\n"),
            ),
        ],
    );
}

/// Where the parser answers before the gate, the measure is the effect: at most one re-framed request upstream, the
/// connection closed, nothing of the rest read as a second request.
#[test]
fn rule_2_two_lengths_never_make_two_requests() {
    let portal = Portal::start();
    let gate = gate(&portal);
    let smuggled = "GET /rest/crm.lead.list HTTP/1.1\r\nhost: gate\r\n\r\n";
    for fields in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 0\r\ncontent-length: 5\r\n",
        "content-length: +5\r\n",
        "content-length: 5, 5\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
    ] {
        let request = format!(
            "POST /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/x-www-form-urlencoded\r\n{fields}\r\n0\r\n\r\n{smuggled}"
        );
        let mut client = Client::connect(&gate.address);
        client.send(request.as_bytes());
        while client.answer().is_some() {}
        assert!(client.is_closed(), "{fields:?}");
        let received = portal.take();
        assert!(received.len() <= 1, "{fields:?}: {received:?}");
        for request in received {
            assert_eq!(request.target, "/rest/crm.deal.list", "{fields:?}");
            let framings = request.headers.iter().filter(|(name, _)| {
                ["content-length", "transfer-encoding"].contains(&name.as_str())
            });
            assert_eq!(framings.count(), 1, "{fields:?}");
        }
    }
}

#[test]
fn rule_2_what_is_for_this_hop_ends_here() {
    let portal = Portal::start();
    let gate = gate(&portal);
    let request = format!(
        "POST /rest/crm.deal.list HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {TOKEN}\r\nConnection: keep-alive, X-Hop\r\n\
         X-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\nTrailer: X-Late\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nExpect: 100-continue\r\nForwarded: for=x\r\nX-Forwarded-For: x\r\n\
         X-Forwarded-Host: x\r\nX-Real-IP: x\r\nX-Original-URL: /x\r\nX-Rewrite-URL: /x\r\nGrantgate-Reason: x\r\n\
         X-HTTP-Method-Override: POST\r\nCookie: PHPSESSID=x\r\nX-Bitrix-Csrf-Token: x\r\nX-Kept: 1\r\nX-Kept: 2\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\na=1\r\n0\r\nX-Late: authorization\r\n\r\n"
    );
    let answer = support::exchange(&gate.address, request.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = portal.take();
    let mut names: Vec<&str> = received[0]
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "authorization",
            "content-length",
            "content-type",
            "host",
            "x-kept",
            "x-kept"
        ]
    );
    assert_eq!(received[0].header("host"), Some(portal.address.as_str()));
    assert_eq!(received[0].body, b"a=1");
}

#[test]
fn rule_3_more_than_one_credential_is_refused() {
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let target = format!("/rest/crm.deal.list?auth={TOKEN}");
    let hook = "/rest/1/hooksecret/crm.deal.list";
    let form = "application/x-www-form-urlencoded";
    let mut requests = vec![
        head(&target, &bearer),
        head(&format!("{target}&auth={TOKEN}"), ""),
        head(&format!("{target}&access_token={TOKEN}"), ""),
        head(&format!("{hook}?auth={TOKEN}"), ""),
        head(hook, &bearer),
        head("/rest/crm.deal.list", &format!("{bearer}{bearer}")),
        head(
            "/rest/crm.deal.list",
            "authorization: Basic dXNlcjpwYXNz\r\n",
        ),
        head(
            "/rest/crm.deal.list",
            &format!("authorization: Bearer  {TOKEN}\r\n"),
        ),
        head(
            "/rest/crm.deal.list",
            "authorization: Bearer a, Bearer b\r\n",
        ),
        head(
            "/rest/crm.deal.list",
            &format!(
                "{bearer}x_authorization: 1\r\nauthorization_: x\r\nproxy_authorization: x\r\n"
            ),
        ),
        post(&target, form, &format!("auth={TOKEN}")),
        post(
            &target,
            "application/json",
            &format!("{{\"auth\":\"{TOKEN}\"}}"),
        ),
        post(&target, "application/json", "{\"auth\":null}"),
        post(
            "/rest/crm.deal.list",
            "application/json",
            &format!("{{\"auth\":\"{TOKEN}\",\"\\u0061uth\":\"x\"}}"),
        ),
        post(
            "/rest/crm.deal.list",
            "application/json",
            &format!("{{\"auth\":[\"{TOKEN}\"]}}"),
        ),
        post("/rest/crm.deal.list", "application/json", "{\"auth\":7}"),
    ];
    // One credential, in a spelling that PHP makes into the documented one.
    for name in [
        "+auth",
        "%20auth",
        "auth%00x",
        "%61uth",
        "auth[]",
        "access.token",
        "access%20token",
        "access[token",
    ] {
        requests.push(head(&format!("/rest/crm.deal.list?{name}={TOKEN}"), ""));
        requests.push(post(
            "/rest/crm.deal.list",
            form,
            &format!("x=1&{name}={TOKEN}"),
        ));
    }
    // Doors that are not OAuth.
    for name in [
        "aplogin",
        "ap",
        "sessid",
        "call_auth_id",
        "livechat_auth_id",
        "livechat.user.id",
    ] {
        requests.push(head(&format!("{target}&{name}=1"), ""));
        requests.push(post(
            "/rest/crm.deal.list",
            "application/json",
            &format!("{{\"auth\":\"{TOKEN}\",\"{}\":1}}", name.replace('.', "_")),
        ));
    }
    ambiguous("ambiguous_credential", requests);
}

#[test]
fn rule_3_parameters_that_route_are_refused() {
    let form = "application/x-www-form-urlencoded";
    let mut requests = Vec::new();
    for name in [
        "method",
        "+method",
        "method[]",
        "SEF_APPLICATION_CUR_PAGE_URL",
        "SEF.APPLICATION_CUR_PAGE_URL",
    ] {
        requests.push(authorized(&format!(
            "/rest/crm.deal.list?{name}=crm.lead.add"
        )));
        requests.push(post(
            "/rest/crm.deal.list",
            form,
            &format!("auth={TOKEN}&{name}=x"),
        ));
    }
    requests.push(post(
        "/rest/crm.deal.list",
        "application/json",
        &format!("{{\"auth\":\"{TOKEN}\",\"method\":\"x\"}}"),
    ));
    ambiguous("ambiguous_operation", requests);
}

#[test]
fn rule_4_bodies_that_can_be_read_twice_are_refused() {
    let json = format!("{{\"auth\":\"{TOKEN}\"}}");
    let target = "/rest/crm.deal.list";
    let mut requests = Vec::new();
    for kind in [
        "Application/JSON",
        "application/json ;charset=utf-8",
        "application/json, text/plain",
        "text/plain",
        "application/json; charset=utf-16",
        "application/vnd.api+json",
        "application/x-www-form-urlencoded2",
        "Application/X-WWW-Form-Urlencoded",
        "text/json",
    ] {
        requests.push(post(target, kind, &json));
    }
    for body in [
        "{\"auth\":\"x\"} trailing".to_owned(),
        "\u{feff}{}".to_owned(),
        format!("\u{b}{json}"),
        format!("{json}\0"),
        "\"auth\"".to_owned(),
        "1".to_owned(),
        "{\"a\":TRUE}".to_owned(),
        " ".to_owned(),
        format!("{}{}", "[".repeat(65), "]".repeat(65)),
        "{\"a\":1,}".to_owned(),
        "auth=x".to_owned(),
    ] {
        requests.push(post(target, "application/json", &body));
    }
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    requests.push(head(target, &format!("{bearer}content-length: 2\r\n")) + "{}");
    requests.push(head(target, &format!("{bearer}transfer-encoding: chunked\r\n")) + "0\r\n\r\n");
    requests.push(format!(
        "POST {target} HTTP/1.1\r\nhost: gate\r\n{bearer}content-type: application/json\r\ncontent-encoding: gzip\r\n\
         content-length: 2\r\n\r\n{{}}"
    ));
    requests.push(format!(
        "POST {target} HTTP/1.1\r\nhost: gate\r\n{bearer}content-type: application/json\r\ncontent-type: text/plain\r\n\
         content-length: 2\r\n\r\n{{}}"
    ));
    requests.push(format!(
        "POST {target} HTTP/1.1\r\nhost: gate\r\n{bearer}content-length: 2\r\n\r\n{{}}"
    ));
    ambiguous("ambiguous_body", requests);
}

#[test]
fn rule_4_a_thousand_fillers_do_not_hide_a_parameter() {
    let filler = "x=1&".repeat(1000);
    let form = "application/x-www-form-urlencoded";
    refuse_all(&[
        (
            post(
                "/rest/crm.deal.list",
                form,
                &format!("{filler}auth={TOKEN}"),
            ),
            400,
            "INVALID_REQUEST",
            "ambiguous_credential",
        ),
        (
            post(
                "/rest/crm.deal.list",
                form,
                &format!("auth={TOKEN}&{filler}method=x"),
            ),
            400,
            "INVALID_REQUEST",
            "ambiguous_operation",
        ),
    ]);
}

#[test]
fn rules_5_and_6_what_is_not_in_the_catalogue_or_not_read_is_refused() {
    let form = "application/x-www-form-urlencoded";
    let native = |request: String| (request, 403, "ACCESS_DENIED", "operation_unlisted");
    let scope = |request: String| (request, 403, "insufficient_scope", "scope_missing");
    refuse_all(&[
        native(authorized("/rest/nothing.known")),
        scope(authorized("/rest/mail.mailbox.lst")),
        native(authorized("/rest/download?token=x")),
        native(authorized("/rest/userfieldconfig.list?moduleId=nothing")),
        native(authorized("/rest/event.bind?event=ONNOTHING")),
        native(authorized("/rest/event.bind?handler=https://x")),
        native(authorized("/rest/placement.bind?PLACEMENT=NOTHING")),
        native(authorized("/rest/rest.scope.list")),
        scope(authorized("/rest/event.bind?event=ONVOXIMPLANTCALLEND")),
        scope(authorized("/rest/userfieldconfig.list?moduleId=crm")),
        scope(authorized("/rest/placement.bind?PLACEMENT=CALL_CARD")),
        scope(authorized("/rest/sign.b2e.document.get")),
        (
            post("/rest/crm.deal.list", form, "x=1"),
            401,
            "NO_AUTH_FOUND",
            "credential_missing",
        ),
        (
            head("/rest/crm.deal.list?auth=", ""),
            401,
            "NO_AUTH_FOUND",
            "credential_missing",
        ),
        (
            head("/rest/crm.deal.list?AUTH=x", ""),
            401,
            "NO_AUTH_FOUND",
            "credential_missing",
        ),
        (
            head("/rest/server.time?auth=nobody", ""),
            403,
            "ACCESS_DENIED",
            "token_unknown",
        ),
        (
            head("/rest/1/otherhook/crm.deal.list", ""),
            403,
            "ACCESS_DENIED",
            "token_unknown",
        ),
    ]);
}

#[test]
fn rule_6_rest_3_is_refused_in_its_own_shape() {
    let portal = Portal::start();
    let gate = gate(&portal);
    let request = post(
        "/rest/api/tasks.task.get",
        "application/json",
        &format!("{{\"auth\":\"{TOKEN}\",\"id\":1}}"),
    );
    let answer = support::exchange(&gate.address, request.as_bytes()).unwrap();
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.json()["error"]["code"],
        "BITRIX_REST_V3_EXCEPTION_INSUFFICIENTSCOPEEXCEPTION"
    );
    assert_eq!(portal.received(), []);
}

#[test]
fn rule_7_verbs_that_are_not_offered_or_are_overridden_are_refused() {
    let verb = |verb: &str| {
        format!(
            "{verb} /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        )
    };
    let mut cases: Vec<_> = ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "get", "FOO"]
        .into_iter()
        .map(|name| (verb(name), 405, "INVALID_REQUEST", "operation_unlisted"))
        .collect();
    for field in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x_http_method_override",
    ] {
        let request = head(
            "/rest/crm.deal.list",
            &format!("authorization: Bearer {TOKEN}\r\n{field}: DELETE\r\n"),
        );
        cases.push((request, 400, "INVALID_REQUEST", "ambiguous_operation"));
    }
    refuse_all(&cases);
}

#[test]
fn rule_8_no_tunnel() {
    let upgrade =
        format!("authorization: Bearer {TOKEN}\r\nconnection: upgrade\r\nupgrade: websocket\r\n");
    for mode in ["enforce", "report", "off"] {
        let portal = Portal::start();
        let gate = Setup::before(&portal.address)
            .grant(TOKEN, &["crm"])
            .with(&format!("mode = \"{mode}\""))
            .start();
        for request in [
            head("/rest/crm.deal.list", &upgrade),
            "CONNECT portal:443 HTTP/1.1\r\nhost: portal:443\r\n\r\n".to_owned(),
        ] {
            let mut client = Client::connect(&gate.address);
            let answer = client.send(request.as_bytes()).answer().unwrap();
            assert_eq!(
                (answer.status, answer.reason()),
                (400, "upgrade_refused"),
                "{mode}: {request:?}"
            );
            assert!(client.is_closed());
        }
        assert_eq!(portal.received(), [], "{mode}");
    }
}

#[test]
fn rule_9_an_early_refusal_does_not_leave_a_body_to_be_read_as_a_request() {
    let portal = Portal::start();
    let gate = gate(&portal);
    let mut client = Client::connect(&gate.address);
    let smuggled = authorized("/rest/crm.deal.list");
    let request = format!(
        "POST /rest/a/b HTTP/1.1\r\nhost: gate\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    client.send(request.as_bytes());
    assert_eq!(client.answer().unwrap().status, 400);
    client.send(authorized("/rest/crm.deal.list?after=1").as_bytes());
    assert_eq!(client.answer().unwrap().status, 200);
    let targets: Vec<String> = portal
        .take()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(targets, ["/rest/crm.deal.list?after=1"]);
}

#[test]
fn rule_10_the_host_is_one_of_the_gates_own() {
    let portal = Portal::start();
    let gate = Setup::before(&portal.address)
        .grant(TOKEN, &["crm"])
        .with("hosts = [\"portal.example\"]")
        .start();
    let with_host = |host: &str| {
        let request =
            format!("GET /rest/crm.deal.list?auth={TOKEN} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        support::exchange(&gate.address, request.as_bytes()).unwrap()
    };
    let answer = with_host("evil.example");
    assert_eq!((answer.status, answer.reason()), (421, "host_unknown"));
    assert_eq!(portal.take(), []);
    assert_eq!(with_host("Portal.Example:8443").status, 200);
    assert_eq!(
        portal.take()[0].header("host"),
        Some(portal.address.as_str()),
        "the portal's own name is sent on"
    );
}

#[test]
fn what_the_parser_refuses_is_recorded_too() {
    let portal = Portal::start();
    let mut gate = gate(&portal);
    for request in [
        "GET / HTTP/9.9\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET /x HTTP/1.1\r\nbad header\r\n\r\n",
        "GET /x\0 HTTP/1.1\r\n\r\n",
    ] {
        let mut client = Client::connect(&gate.address);
        client.send(request.as_bytes());
        while client.answer().is_some() {}
    }
    assert_eq!(portal.received(), []);
    // The count follows the end of the connection, which the client may see first.
    let counted = "grantgate_rejected_total{gate=\"portal\",reason=\"ambiguous_framing\"} 4";
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !gate.admin("/metrics").text().contains(counted) {
        assert!(std::time::Instant::now() < until, "all four are counted");
    }
    gate.stop();
    assert_eq!(gate.records_of("call.rejected").len(), 4);
}

/// The portal has no eye for verbs: a preflight that carries a credential, or leads elsewhere, would run the method.
#[test]
fn a_preflight_with_a_credential_is_no_preflight() {
    let preflight = |target: &str, more: &str| {
        format!(
            "OPTIONS {target} HTTP/1.1\r\nhost: gate\r\norigin: https://a\r\naccess-control-request-method: POST\r\n{more}\r\n"
        )
    };
    refuse_all(&[
        (
            preflight("/rest/1/hooksecret/crm.deal.delete?id=1", ""),
            405,
            "INVALID_REQUEST",
            "operation_unlisted",
        ),
        (
            preflight(&format!("/rest/crm.deal.delete?id=1&auth={TOKEN}"), ""),
            405,
            "INVALID_REQUEST",
            "operation_unlisted",
        ),
        (
            preflight(
                "/rest/profile",
                &format!("authorization: Bearer {TOKEN}\r\n"),
            ),
            405,
            "INVALID_REQUEST",
            "operation_unlisted",
        ),
        (
            preflight("/elsewhere", ""),
            405,
            "INVALID_REQUEST",
            "operation_unlisted",
        ),
    ]);
    ambiguous(
        "ambiguous_operation",
        vec![
            preflight("/rest/profile?token=x", ""),
            preflight("/rest/profile?SEF_APPLICATION_CUR_PAGE_URL=/rest/x", ""),
            preflight("/rest/profile", "x-http-method-override: POST\r\n"),
        ],
    );
}

/// The portal's rewriter looks for another target behind the mark of an error page, anywhere in the query.
#[test]
fn the_mark_of_an_error_page_is_refused() {
    ambiguous(
        "ambiguous_operation",
        vec![
            authorized("/rest/user.current?404;http://x/rest/crm.deal.delete?id=1"),
            authorized("/rest/user.current?a=404;HTTPS://x/rest/crm.deal.delete?id=1"),
        ],
    );
}

#[test]
fn nested_members_and_nul_bytes_do_not_hide_a_credential() {
    let target = format!("/rest/crm.deal.list?auth={TOKEN}");
    ambiguous(
        "ambiguous_credential",
        vec![
            post(&target, "application/json", r#"{"auth":{"x":1}}"#),
            post(
                &target,
                "application/json",
                r#"{"aplogin":{"x":"admin"},"ap":{"x":"s"}}"#,
            ),
        ],
    );
    ambiguous(
        "ambiguous_body",
        vec![post(
            &target,
            "application/x-www-form-urlencoded",
            "\0auth=other",
        )],
    );
}

/// What could not be read is not known to be what a loosening rule speaks of.
#[test]
fn a_rule_that_loosens_does_not_loosen_what_was_not_read() {
    let portal = Portal::start();
    let gate = Setup::before(&portal.address)
        .grant(TOKEN, &["crm"])
        .rule("operations = [\"user.current\", \"batch\"]\nmode = \"report\"")
        .start();
    let status = |request: String| {
        support::exchange(&gate.address, request.as_bytes())
            .unwrap()
            .status
    };
    assert_eq!(
        status(authorized(
            "/rest/user.current?SEF_APPLICATION_CUR_PAGE_URL=/rest/x"
        )),
        400
    );
    assert_eq!(status(authorized("/rest/batch?cmd[]=x:crm.deal.list")), 400);
    assert_eq!(
        status(authorized("/rest/batch?cmd[]=user.get")),
        200,
        "a batch whose commands are all refused is answered"
    );
    assert_eq!(status(post("/rest/user.current", "text/plain", "x")), 400);
    assert_eq!(portal.received(), []);
    assert_eq!(
        status(authorized("/rest/user.current")),
        200,
        "what was read is only reported"
    );
}

/// Bytes that come one by one are held as bytes, not as a read buffer each.
#[test]
fn a_trickled_body_is_held_in_little_memory() {
    let portal = Portal::start();
    let gate = gate(&portal);
    let resident = || support::resident_kib(gate.pid());
    let before = resident();
    let body = format!("{{\"auth\":\"{TOKEN}\",\"x\":\"{}\"}}", "y".repeat(20_000));
    let mut client = Client::connect(&gate.address);
    client.send(b"POST /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
    for byte in body.bytes() {
        client.send(&[b"1\r\n".as_slice(), &[byte], b"\r\n"].concat());
    }
    let grown = resident().saturating_sub(before);
    assert_eq!(client.send(b"0\r\n\r\n").answer().unwrap().status, 200);
    assert_eq!(portal.take()[0].body, body.as_bytes());
    assert!(grown < 16 * 1024, "{grown} KiB for 20 KB");
}

#[test]
fn a_preflight_passes_and_its_answer_is_the_portals() {
    let portal = Portal::start();
    let mut gate = gate(&portal);
    let request = "OPTIONS /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\norigin: https://app.example\r\n\
                   access-control-request-method: POST\r\n\r\n";
    assert_eq!(
        support::exchange(&gate.address, request.as_bytes())
            .unwrap()
            .status,
        200
    );
    assert_eq!(portal.received().len(), 1);
    gate.stop();
    let record = &gate.records_of("call.decision")[0];
    assert_eq!(
        (&record["operation"], &record["reason"]),
        (&"preflight".into(), &"no_scope_needed".into())
    );
}
