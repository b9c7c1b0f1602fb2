//! Portals that redirect, reset, hang, answer garbage or half an answer: no crash, no second try, clear words, and the
//! next call is answered right.

mod support;

use support::gate::Setup;
use support::portal::{Reply, ok};
use support::{Answer, Client, Gate, Portal};

const TOKEN: &str = "at-1";

fn call(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {TOKEN}\r\n\r\n")
}

fn gate(portal: &Portal) -> Gate {
    Setup::before(&portal.address)
        .grant(TOKEN, &["crm"])
        .section("[limits]\nfirst_byte_secs = 1\nanswer_idle_secs = 1")
        .start()
}

/// What the portal says to the first call; every other call gets a plain answer.
fn portal(first: impl Fn() -> Reply + Send + Sync + 'static) -> Portal {
    Portal::scripted(move |request| {
        if request.target.ends_with("?bad") {
            first()
        } else {
            Reply::Bytes(ok("{\"result\":1}"))
        }
    })
}

/// One bad call and a good one after it on the same connection, or on a new one if that has ended.
fn bad_then_good(
    first: impl Fn() -> Reply + Send + Sync + 'static,
) -> (Option<Answer>, Vec<serde_json::Value>, usize) {
    let portal = portal(first);
    let mut gate = gate(&portal);
    let mut client = Client::connect(&gate.address);
    let bad = client
        .send(call("/rest/crm.deal.list?bad").as_bytes())
        .answer();
    let open = bad.as_ref().is_some_and(|answer| answer.whole);
    let mut next = if open {
        client
    } else {
        Client::connect(&gate.address)
    };
    let good = next
        .send(call("/rest/crm.deal.list").as_bytes())
        .answer()
        .unwrap();
    assert_eq!(
        (good.status, good.text().as_str()),
        (200, "{\"result\":1}"),
        "the next call is answered right"
    );
    let tries = portal
        .received()
        .iter()
        .filter(|request| request.target.ends_with("?bad"))
        .count();
    assert_eq!(gate.stop().code(), Some(0));
    // Records of different cores have no order among them: the bad call's decision leads to its end.
    let first = gate.records_of("call.decision")[0]["event_group"].clone();
    let mut ends = gate.records_of("call.completion");
    ends.retain(|end| end["event_group"] == first);
    assert_eq!(ends.len(), 1, "each call ends once");
    (bad, ends, tries)
}

#[test]
fn a_portal_that_resets_is_502_and_is_not_asked_twice() {
    let (answer, ends, tries) = bad_then_good(|| Reply::Last(Vec::new()));
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.reason()),
        (502, "upstream_unreachable")
    );
    assert_eq!(answer.json()["error"], "INTERNAL_SERVER_ERROR");
    assert_eq!((&ends[0]["outcome"], tries), (&"reset".into(), 1));
    assert_eq!(ends[0]["response"]["origin"], "gate");
    assert!(
        ends[0]["destination"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
}

#[test]
fn a_portal_that_answers_garbage_is_502() {
    for garbage in [
        "garbage\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ] {
        let (answer, ends, tries) = bad_then_good(move || Reply::Last(garbage.into()));
        assert_eq!(
            (answer.unwrap().reason(), tries),
            ("upstream_invalid", 1),
            "{garbage:?}"
        );
        assert_eq!(ends[0]["outcome"], "reset");
    }
}

#[test]
fn a_portal_that_hangs_is_504() {
    let (answer, ends, tries) = bad_then_good(|| Reply::Hang(Vec::new()));
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.reason(), tries),
        (504, "upstream_timeout", 1)
    );
    assert_eq!(
        (&ends[0]["outcome"], &ends[0]["reason"]),
        (&"timeout".into(), &"upstream_timeout".into())
    );
}

#[test]
fn half_an_answer_stays_half() {
    let half = || b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec();
    let (answer, ends, _) = bad_then_good(move || Reply::Last(half()));
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.whole, answer.text().as_str()),
        (200, false, "half")
    );
    assert_eq!(
        (&ends[0]["outcome"], &ends[0]["response"]["bytes"]),
        (&"truncated".into(), &4.into())
    );
    let (answer, ends, _) = bad_then_good(move || Reply::Hang(half()));
    assert!(!answer.unwrap().whole);
    assert_eq!(ends[0]["outcome"], "timeout");
}

#[test]
fn a_switch_of_protocols_or_a_status_beyond_http_is_502() {
    for head in [
        "101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade",
        "999 What",
        "600 What",
    ] {
        let (answer, ends, _) =
            bad_then_good(move || Reply::Last(format!("HTTP/1.1 {head}\r\n\r\n").into_bytes()));
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.reason()),
            (502, "upstream_invalid"),
            "{head}"
        );
        assert_ne!(ends[0]["outcome"], "ok");
    }
}

#[test]
fn two_lengths_and_hop_by_hop_fields_end_at_the_gate() {
    let (answer, _, _) = bad_then_good(|| {
        Reply::Last(
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\nconnection: x-hop\r\nx-hop: 1\r\n\
              keep-alive: 1\r\nproxy-authenticate: x\r\ngrantgate-reason: forged\r\nx-kept: 1\r\n\r\n\
              5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n"
                .to_vec(),
        )
    });
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.whole),
        (200, "hello", true)
    );
    for gone in [
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "grantgate-reason",
        "content-length",
        "x-trailer",
    ] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
}

#[test]
fn bytes_after_an_answer_are_never_the_next_answer() {
    let portal = Portal::scripted(|request| {
        if request.target.ends_with("?bad") {
            Reply::Bytes([ok("{}"), ok("{\"result\":\"smuggled\"}")].concat())
        } else {
            Reply::Bytes(ok("{\"result\":1}"))
        }
    });
    let gate = gate(&portal);
    let mut client = Client::connect(&gate.address);
    assert_eq!(
        client
            .send(call("/rest/crm.deal.list?bad").as_bytes())
            .answer()
            .unwrap()
            .text(),
        "{}"
    );
    for _ in 0..3 {
        assert_eq!(
            client
                .send(call("/rest/crm.deal.list").as_bytes())
                .answer()
                .unwrap()
                .text(),
            "{\"result\":1}"
        );
    }
}

fn redirected(to: &str, gate_line: &str) -> Answer {
    let to = to.to_owned();
    let portal = Portal::scripted(move |request| {
        let own = request.header("host").unwrap_or_default().to_owned();
        let place = to.replace("SELF", &own);
        Reply::Bytes(
            format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n")
                .into_bytes(),
        )
    });
    let gate = Setup::before(&portal.address)
        .grant(TOKEN, &["crm"])
        .with(gate_line)
        .start();
    let answer = support::exchange(&gate.address, call("/rest/crm.deal.list").as_bytes()).unwrap();
    assert_eq!(portal.received().len(), 1, "a redirect is never followed");
    answer
}

#[test]
fn redirects_within_the_portal_become_paths() {
    for (to, path) in [
        ("http://SELF/rest/x?y", "/rest/x?y"),
        ("https://SELF", "/"),
        ("/rest/x", "/rest/x"),
        ("x", "x"),
    ] {
        let answer = redirected(to, "");
        assert_eq!(
            (answer.status, answer.header("location")),
            (302, Some(path)),
            "{to}"
        );
    }
}

#[test]
fn redirects_elsewhere_are_refused_where_the_gate_enforces() {
    for to in [
        "https://other.bitrix24.com/rest/x",
        "//other/x",
        "/\\other/x",
        "https:other",
        "javascript:x",
        "http://SELF//x",
        "http://SELF@other/x",
        "\\\\other",
    ] {
        let answer = redirected(to, "");
        assert_eq!(
            (answer.status, answer.reason()),
            (502, "redirect_refused"),
            "{to}"
        );
        assert_eq!(answer.header("location"), None);
    }
    let other = "https://other.bitrix24.com/rest/x";
    for line in [
        "redirects = \"pass\"",
        "mode = \"report\"",
        "mode = \"off\"",
    ] {
        let answer = redirected(other, line);
        assert_eq!(
            (answer.status, answer.header("location")),
            (302, Some(other)),
            "{line}"
        );
    }
}

#[test]
fn nobody_at_the_upstream_is_502() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut gate = Setup::before(&free.to_string())
        .grant(TOKEN, &["crm"])
        .start();
    let answer = support::exchange(&gate.address, call("/rest/crm.deal.list").as_bytes()).unwrap();
    assert_eq!(
        (answer.status, answer.reason()),
        (502, "upstream_unreachable")
    );
    gate.stop();
    assert_eq!(
        gate.records_of("call.completion")[0]["outcome"],
        "not_forwarded"
    );
}

#[test]
fn an_app_that_goes_away_leaves_a_completion() {
    let portal = Portal::scripted(|_| {
        Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec())
    });
    let mut gate = Setup::before(&portal.address)
        .grant(TOKEN, &["crm"])
        .start();
    let mut client = Client::connect(&gate.address);
    client.send(call("/rest/crm.deal.list").as_bytes());
    while portal.received().is_empty() {
        std::thread::yield_now();
    }
    drop(client);
    while gate.records_of("call.completion").is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(
        gate.records_of("call.completion")[0]["outcome"],
        "client_gone"
    );
    assert_eq!(gate.stop().code(), Some(0));
}

#[test]
fn answers_to_head_and_answers_without_a_body_are_whole() {
    let portal = Portal::scripted(|request| {
        Reply::Bytes(if request.method == "HEAD" {
            b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n".to_vec()
        } else {
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
        })
    });
    let mut gate = gate(&portal);
    let mut client = Client::connect(&gate.address);
    let head = call("/rest/crm.deal.list").replace("GET", "HEAD");
    let answer = client.send(head.as_bytes()).answer_to("HEAD").unwrap();
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("7"))
    );
    assert_eq!(
        client
            .send(call("/rest/crm.deal.list").as_bytes())
            .answer_to("HEAD")
            .unwrap()
            .status,
        204
    );
    gate.stop();
    for record in gate.records_of("call.completion") {
        assert_eq!(record["outcome"], "ok", "{record}");
    }
}
