//! Signed links: downloads and uploads by a link that the portal made. An upload streams, and its end waits until the
//! whole form has been seen.

mod support;

use serde_json::json;
use support::gate::Setup;
use support::{Answer, Client, Emulator, Gate, Portal, exchange, post};

fn get(gate: &Gate, target: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nhost: gate\r\n\r\n");
    exchange(&gate.address, request.as_bytes()).unwrap()
}

fn part(head: &str, content: &str) -> String {
    format!("--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
}

fn upload(target: &str, body: &str) -> Vec<u8> {
    post(target, "multipart/form-data; boundary=XX", body)
}

/// Path and query of a link to the portal.
fn target(link: &serde_json::Value) -> String {
    let link = link.as_str().unwrap();
    let (_, rest) = link.split_once("://").unwrap();
    rest[rest.find('/').unwrap()..].to_owned()
}

#[test]
fn links_of_the_portal_work_through_the_gate() {
    let portal = Emulator::start(&["--token", "T=disk"]);
    let gate = Setup::before(&portal.address).grant("T", &["disk"]).start();
    let file = get(&gate, "/rest/disk.file.get?auth=T&id=1").json();
    let download = target(&file["result"]["DOWNLOAD_URL"]);
    assert_eq!(get(&gate, &download).text(), "the file's content");
    let folder = get(&gate, "/rest/disk.folder.uploadfile?auth=T&id=1").json();
    let link = target(&folder["result"]["uploadUrl"]);
    let content = "x".repeat(3 << 20);
    let body = format!(
        "{}--XX--\r\n",
        part("name=\"file\"; filename=\"a.txt\"", &content)
    );
    let answer = exchange(&gate.address, &upload(&link, &body)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["result"]["SIZE"], content.len().to_string());
}

#[test]
fn a_link_needs_the_scope_that_is_signed_into_it() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address).grant("T", &["crm"]).start();
    let link = "/rest/upload.json?auth=T&token=disk%7CaWQ9MQ%7Csig";
    let body = format!("{}--XX--\r\n", part("name=\"file\"; filename=\"a\"", "x"));
    let answer = exchange(&gate.address, &upload(link, &body)).unwrap();
    assert_eq!((answer.status, answer.reason()), (403, "scope_missing"));
    let bare = get(&gate, "/rest/download.json?token=crm%7CaWQ9MQ%7Csig");
    assert_eq!((bare.status, bare.reason()), (401, "credential_missing"));
    assert_eq!(portal.received(), []);
    gate.stop();
    assert_eq!(
        gate.records_of("call.decision")[0]["scopes"]["required"],
        json!([["disk"]])
    );
}

#[test]
fn links_without_a_credential_may_be_let_through() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .grant("T", &["crm"])
        .with("signed_links = \"forward\"")
        .start();
    let link = "/rest/download.json?token=disk%7CaWQ9MQ%7Csig";
    assert_eq!(get(&gate, link).status, 200);
    assert_eq!(
        get(&gate, "/rest/crm.deal.list").status,
        401,
        "no other call"
    );
    assert_eq!(portal.received().len(), 1);
    gate.stop();
    let record = &gate.records_of("call.decision")[0];
    assert_eq!(
        (&record["decision"], &record["reason"]),
        (&json!("allow"), &json!("credential_missing"))
    );
}

#[test]
fn an_upload_whose_form_would_decide_never_arrives_whole() {
    let link = "/rest/upload.json?auth=T&token=crm%7CaWQ9MQ%7Csig";
    let file = part("name=\"file\"; filename=\"a\"", &"x".repeat(600_000));
    for (what, last, reason) in [
        (
            "another credential",
            part("name=\"auth\"", "other"),
            "ambiguous_credential",
        ),
        (
            "another page",
            part("name=\"SEF_APPLICATION_CUR_PAGE_URL\"", "/rest/x"),
            "ambiguous_credential",
        ),
        (
            "another token",
            part("name=\"token\"", "disk|x|y"),
            "ambiguous_credential",
        ),
        (
            "a spelling of PHP's",
            part("name=\"access.token\"", "other"),
            "ambiguous_credential",
        ),
        (
            "a form that others read otherwise",
            "--XX\r\nX: y\r\n\r\n\r\n".to_owned(),
            "ambiguous_body",
        ),
    ] {
        let portal = Portal::start();
        let mut gate = Setup::before(&portal.address).grant("T", &["crm"]).start();
        let body = format!("{file}{last}--XX--\r\n");
        let mut client = Client::connect(&gate.address);
        client.send(&upload(link, &body));
        let answer = client.answer();
        assert!(answer.is_none_or(|answer| answer.status >= 400), "{what}");
        gate.stop();
        for received in portal.received() {
            assert!(
                received.body.len() < body.len(),
                "{what}: the end stays here"
            );
        }
        let end = &gate.records_of("call.completion")[0];
        assert_eq!(end["outcome"], "aborted", "{what}: {end}");
        assert_eq!(end["reason"], reason, "{what}");
    }
}
