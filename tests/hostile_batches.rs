//! Batches and bodies that could be read twice, as raw bytes: the native error, and nothing upstream.

mod support;

use support::gate::Setup;
use support::{Portal, exchange};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const PARTS: &str = "multipart/form-data; boundary=X";

fn post(target: &str, kind: &str, body: &str) -> String {
    String::from_utf8(support::post(target, kind, body)).unwrap()
}

/// Each is refused with 400 and this reason, recorded, and never reaches the portal.
fn refused(reason: &str, requests: &[String]) {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .grant("T", &["crm", "user", "task", "disk", "tasks", "main"])
        .start();
    for request in requests {
        let answer = exchange(&gate.address, request.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.reason()), (400, reason), "{request}");
        let body = answer.json();
        let code = body["error"].as_str().or(body["error"]["code"].as_str());
        let native = [
            "INVALID_REQUEST",
            "ERROR_BATCH_LENGTH_EXCEEDED",
            "BITRIX_REST_V3_EXCEPTION_INVALIDREQUESTEXCEPTION",
        ];
        assert!(
            code.is_some_and(|code| native.contains(&code)),
            "{request}: {body}"
        );
    }
    assert_eq!(portal.received(), []);
    gate.stop();
    assert_eq!(gate.records_of("call.decision").len(), requests.len());
}

fn batch(cmd: &str) -> String {
    post(
        "/rest/batch",
        JSON,
        &format!("{{\"cmd\":{cmd},\"auth\":\"T\"}}"),
    )
}

fn form(pairs: &str) -> String {
    post("/rest/batch", FORM, &format!("auth=T&{pairs}"))
}

#[test]
fn commands_that_the_portal_would_cut_otherwise() {
    let commands = [
        "http:crm.deal.delete?id=1",
        "http://x/crm.deal.delete",
        "//crm.deal.delete",
        "x:y@crm.deal.delete",
        "crm.deal.list#?x",
        "crm.deal.list?x#y",
        "crm.deal.list\\u0000",
        "crm.deal.list\\n?x=1",
        "crm.deal.list?x=\\u0001",
        "crm.deal.list\\u007f",
        " crm.deal.list",
        "crm.deal.list ",
        "/crm.deal.list",
        "crm%2Edeal.list",
        "crm.deal.list.json",
        "crm.deal.list.XML",
        "crm..deal.list",
        ".crm.deal",
        "crm.deal.",
        "crm.deal.lis\\u212a",
        "crm.d\\u0435al.list",
        "?x=1",
        "",
        "crm.deal.list;x",
        "crm.deal.list/../user.get",
    ];
    let in_json = commands.iter().map(|text| batch(&format!("[\"{text}\"]")));
    let in_form = [
        "http:crm.deal.delete",
        "crm.deal.list%23x",
        "crm.deal.list%00",
        "crm%252Edeal.list",
        "%20crm.deal.list",
    ];
    let in_form = in_form.iter().map(|text| form(&format!("cmd[a]={text}")));
    refused(
        "ambiguous_operation",
        &in_json.chain(in_form).collect::<Vec<_>>(),
    );
}

#[test]
fn batches_of_which_php_could_see_another() {
    let long = "k".repeat(200);
    let json = [
        "\"crm.deal.list\"".to_owned(),
        "null".to_owned(),
        "1".to_owned(),
        "[[\"crm.deal.list\"]]".to_owned(),
        "[{\"method\":\"user.get\"}]".to_owned(),
        "{\"a\":\"crm.deal.list\",\"a\":\"user.get\"}".to_owned(),
        "{\"a\":\"crm.deal.list\",\"\\u0061\":\"user.get\"}".to_owned(),
        "[1]".to_owned(),
        "[null]".to_owned(),
        "[\"crm.deal.list\"],\"CMD\":[\"user.get\"]".to_owned(),
        "[\"crm.deal.list\"],\"cmd\":[\"user.get\"]".to_owned(),
        "[\"crm.deal.list\"],\"halt\":0,\"HALT\":1".to_owned(),
        "[\"crm.deal.list\"],\"halt\":[]".to_owned(),
        format!("{{\"{long}\":\"crm.deal.list\"}}"),
        "{\"a\\nb\":\"crm.deal.list\"}".to_owned(),
    ];
    let json = json.iter().map(|cmd| batch(cmd));
    let pairs = [
        "cmd=crm.deal.list",
        "cmd[a][b]=crm.deal.list",
        "cmd[a]=crm.deal.list&cmd[a]=user.get",
        "cmd[a]=crm.deal.list&CMD[b]=user.get",
        "cmd[ a]=user.get",
        "cmd[a]x=user.get",
        "c%6Dd[a]=user.get",
        "+cmd[a]=user.get",
        "cmd[-5]=user.get&cmd[]=user.get",
        "halt[]=1&cmd[a]=user.get",
        "cmd[a]=user.get&halt=1&Halt=0",
        "cmd[0]=user.get&cmd[]=crm.deal.list&cmd[1]=user.get",
    ];
    let forms = pairs.iter().map(|pairs| form(pairs));
    let both = [
        post(
            "/rest/batch?cmd[a]=user.get",
            JSON,
            "{\"cmd\":[\"crm.deal.list\"],\"auth\":\"T\"}",
        ),
        post(
            "/rest/batch?cmd[a]=user.get",
            FORM,
            "auth=T&cmd[b]=crm.deal.list",
        ),
        post(
            "/rest/batch?halt=1",
            JSON,
            "{\"cmd\":[\"crm.deal.list\"],\"halt\":0,\"auth\":\"T\"}",
        ),
    ];
    refused(
        "ambiguous_operation",
        &json.chain(forms).chain(both).collect::<Vec<_>>(),
    );
}

#[test]
fn a_thousand_fillers_do_not_hide_a_command() {
    let filler = "x=1&".repeat(1000);
    refused(
        "ambiguous_operation",
        &[form(&format!("{filler}cmd[a]=user.get"))],
    );
    let inner = "x=1%26".repeat(1000);
    refused(
        "ambiguous_operation",
        &[form(&format!(
            "cmd[a]=event.bind%3F{inner}event=ONCRMDEALADD"
        ))],
    );
    let commands = vec!["\"crm.deal.list\""; 51].join(",");
    refused("batch_too_long", &[batch(&format!("[{commands}]"))]);
}

#[test]
fn items_of_rest_3_that_php_could_read_otherwise() {
    let items = |body: &str| post("/rest/api/batch?auth=T", JSON, body);
    let cases = [
        "[1]",
        "[\"tasks.task.get\"]",
        "[[]]",
        "[{}]",
        "[{\"query\":{}}]",
        "[{\"method\":1}]",
        "[{\"method\":\"a b\"}]",
        "[{\"method\":\"tasks.task.get\",\"method\":\"main.eventlog.list\"}]",
        "[{\"method\":\"tasks.task.get\",\"query\":{},\"query\":{}}]",
        "{\"0\":{\"method\":\"tasks.task.get\"},\"0\":{\"method\":\"main.eventlog.list\"}}",
        "{\"0\":[\"tasks.task.get\"]}",
    ];
    refused("ambiguous_operation", &cases.map(items));
}

#[test]
fn bodies_that_are_two_things() {
    let part = |head: &str| {
        post(
            "/rest/disk.folder.uploadfile?auth=T",
            PARTS,
            &format!("--X\r\n{head}\r\n\r\nT\r\n--X--\r\n"),
        )
    };
    let mut bodies: Vec<String> = [
        "Content-Disposition: form-data; name=a",
        "Content-Disposition: form-data; name=\"a\"; name=\"auth\"",
        "Content-Disposition: form-data;\r\n name=\"a\"",
        "Content-Disposition: attachment; name=\"a\"",
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"",
        "content-type: x",
        "X: y\r\nContent-Disposition: form-data; name=\"a\"",
    ]
    .into_iter()
    .map(part)
    .collect();
    let whole = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nT\r\n--X--\r\n";
    for (kind, body) in [
        (
            "multipart/form-data; boundary=X; boundary=Y",
            whole.to_owned(),
        ),
        ("multipart/form-data, boundary=X", whole.to_owned()),
        ("multipart/form-data", whole.to_owned()),
        ("Multipart/Form-Data; boundary=X", whole.to_owned()),
        ("multipart/mixed; boundary=X", whole.to_owned()),
        (PARTS, whole.replace("\r\n", "\n")),
        (PARTS, format!("preamble\r\n{whole}")),
        (PARTS, format!("{whole}auth=T")),
        (PARTS, whole.replace("--X--", "--X")),
        (PARTS, "{\"auth\":\"T\"}".to_owned()),
        (JSON, "auth=T".to_owned()),
        (JSON, "{\"x\":\"T\"}&method=x".to_owned()),
        (JSON, "\u{feff}{}".to_owned()),
        (JSON, format!("{}{}", "[".repeat(65), "]".repeat(65))),
        ("application/JSON", "{}".to_owned()),
        ("text/json", "{}".to_owned()),
    ] {
        bodies.push(post("/rest/disk.folder.uploadfile?auth=T", kind, &body));
    }
    refused("ambiguous_body", &bodies);
}
