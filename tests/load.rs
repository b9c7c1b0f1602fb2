//! More than there is room for: what is over a limit is turned away with 503, counted and summed up in a record; what is
//! within it goes on, and so does every other gate.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::gate::Setup;
use support::portal::{Reply, ok};
use support::{Client, Portal};

/// A portal that answers once it is let, and how many calls it has seen.
fn holding() -> (Portal, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (seen, released) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (count, wait) = (Arc::clone(&seen), Arc::clone(&released));
    let portal = Portal::scripted(move |_| {
        count.fetch_add(1, Ordering::AcqRel);
        while !wait.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        Reply::Bytes(ok(r#"{"result":true}"#))
    });
    (portal, seen, released)
}

/// Waits until it holds, for a minute at most.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

fn request(token: &str) -> Vec<u8> {
    format!(
        "GET /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

/// Sends a call that will be held; gives its connection.
fn held(address: &str, token: &str, seen: &AtomicUsize) -> Client {
    let before = seen.load(Ordering::Acquire);
    let mut client = Client::connect(address);
    client.send(&request(token));
    until("the call", || seen.load(Ordering::Acquire) > before);
    client
}

fn shed_records(gate: &support::Gate) -> (u64, u64) {
    let records = gate.records_of("call.shed");
    let sum = |what: &str| {
        let counts = records.iter().map(|record| record["shed"][what].as_u64());
        counts.map(Option::unwrap).sum()
    };
    (sum("calls"), sum("connections"))
}

#[test]
fn calls_beyond_the_limit_of_a_gate_or_token_are_shed_and_the_others_end_well() {
    for (limits, tokens, over) in [
        ("calls_in_flight = 3", ["T1", "T2", "T3"], "T2"),
        ("calls_per_token = 3", ["T1", "T1", "T1"], "T1"),
    ] {
        let (portal, seen, released) = holding();
        let mut gate = Setup::before(&portal.address)
            .section(&format!("[limits]\n{limits}"))
            .grant("T1", &["crm"])
            .grant("T2", &["crm"])
            .grant("T3", &["crm"])
            .start();
        let mut clients = tokens.map(|token| held(&gate.address, token, &seen));
        for _ in 0..5 {
            let mut client = Client::connect(&gate.address);
            let answer = client.send(&request(over)).answer().unwrap();
            assert_eq!(
                (answer.status, answer.reason()),
                (503, "overloaded"),
                "{limits}"
            );
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(answer.json()["error"].is_string(), "in the vendor's shape");
        }
        if limits.starts_with("calls_per_token") {
            // Another token has room of its own.
            let mut other = held(&gate.address, "T2", &seen);
            released.store(true, Ordering::Release);
            assert_eq!(other.answer().unwrap().status, 200);
        }
        released.store(true, Ordering::Release);
        for client in &mut clients {
            assert_eq!(client.answer().unwrap().status, 200);
        }
        // There is room again once they have ended.
        let mut client = Client::connect(&gate.address);
        until("room", || {
            let answer = client.send(&request(over)).answer().unwrap();
            answer.status == 200
        });
        assert_eq!(gate.stop().code(), Some(0));
        let (calls, connections) = shed_records(&gate);
        assert!(calls >= 5 && connections == 0, "{calls} {connections}");
        // What was received is what was allowed and what was shed: nothing is counted twice or not at all.
        let decisions = gate.records_of("call.decision");
        assert!(decisions.iter().all(|record| record["decision"] == "allow"));
        assert_eq!(decisions.len(), gate.records_of("call.completion").len());
    }
}

#[test]
fn a_watching_gate_turns_no_call_away() {
    let (portal, seen, released) = holding();
    let gate = Setup::before(&portal.address)
        .section("[limits]\ncalls_in_flight = 1")
        .with("mode = \"report\"")
        .start();
    let mut first = held(&gate.address, "T1", &seen);
    let mut second = held(&gate.address, "T2", &seen);
    released.store(true, Ordering::Release);
    assert_eq!(first.answer().unwrap().status, 200);
    assert_eq!(second.answer().unwrap().status, 200);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_said() {
    let portal = Portal::start();
    let mut gate = Setup::before(&portal.address)
        .section("[limits]\nconnections = 3")
        .grant("T1", &["crm"])
        .start();
    let mut kept: Vec<Client> = (0..3).map(|_| Client::connect(&gate.address)).collect();
    for client in &mut kept {
        assert_eq!(client.send(&request("T1")).answer().unwrap().status, 200);
    }
    let mut turned_away = 0;
    for _ in 0..4 {
        turned_away += usize::from(Client::connect(&gate.address).is_closed());
    }
    assert_eq!(turned_away, 4);
    for client in &mut kept {
        assert_eq!(
            client.send(&request("T1")).answer().unwrap().status,
            200,
            "untouched"
        );
    }
    until("the metric", || {
        let metrics = gate.admin("/metrics").text();
        metrics.contains("grantgate_shed_total{gate=\"portal\",what=\"connection\"} 4")
    });
    drop(kept);
    until("room", || {
        let mut client = Client::connect(&gate.address);
        client.send(&request("T1")).answer().is_some()
    });
    assert_eq!(gate.stop().code(), Some(0));
    assert!(shed_records(&gate).1 >= 4);
    let record: Value = gate.records_of("call.shed")[0].clone();
    assert_eq!(
        (&record["gate"], &record["reason"]),
        (&"portal".into(), &"overloaded".into())
    );
}

#[test]
fn a_dead_portal_is_said_at_once_and_tried_again_until_it_answers() {
    // A port that nobody listens on, and that is known for when somebody will.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut gate = Setup::before(&address.to_string())
        .grant("T1", &["crm"])
        .start();
    let call = || support::exchange(&gate.address, &request("T1")).unwrap();
    let shown = |value: &str| {
        let line = format!("grantgate_circuit_open{{gate=\"portal\",server=\"resource\"}} {value}");
        gate.admin("/metrics").text().lines().any(|one| one == line)
    };
    assert!(shown("0"));
    for _ in 0..5 {
        let answer = call();
        assert_eq!(
            (answer.status, answer.reason()),
            (502, "upstream_unreachable")
        );
    }
    assert!(shown("1"), "it opens after five in a row");
    for _ in 0..20 {
        let answer = call();
        assert_eq!(
            (answer.status, answer.reason()),
            (502, "upstream_unreachable")
        );
    }
    let listener = std::net::TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                use std::io::{Read as _, Write as _};
                while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(&ok("{\"result\":true}"));
                }
            });
        }
    });
    until("the portal", || call().status == 200);
    assert!(shown("0"), "it closes by itself");
    assert_eq!(gate.stop().code(), Some(0));
    let ends = gate.records_of("call.completion");
    let untried = ends.iter().filter(|end| end["upstream_attempts"] == 0);
    let untried: Vec<&Value> = untried.map(|end| &end["outcome"]).collect();
    assert!(untried.len() > 10, "one call a second is tried: {ends:?}");
    assert!(untried.iter().all(|outcome| *outcome == "not_forwarded"));
    let completions = gate.records_of("call.completion");
    let refused = completions
        .iter()
        .filter(|record| record["outcome"] == "not_forwarded");
    assert!(
        refused.count() >= 25,
        "each call has its record, tried or not"
    );
}

#[test]
fn a_head_may_be_as_large_as_is_said() {
    let (portal, _, released) = holding();
    released.store(true, Ordering::Release);
    let mut gate = Setup::before(&portal.address)
        .grant("T1", &["crm"])
        .section("[limits]\nhead_kib = 32")
        .start();
    let call = |padding: usize| {
        let field = format!("x: {}\r\n\r\n", "y".repeat(padding));
        let text = String::from_utf8(request("T1")).unwrap();
        let bytes = text.trim_end().to_owned() + "\r\n" + &field;
        let answer = support::exchange(&gate.address, bytes.as_bytes()).unwrap();
        (bytes.len(), answer.status)
    };
    let around = call(0).0;
    assert_eq!(call((32 << 10) - around), (32 << 10, 200));
    assert_eq!(call((32 << 10) - around + 1), ((32 << 10) + 1, 431));
    // Beyond what the parser takes.
    assert_eq!(call(200_000).1, 431);
    gate.stop();
    assert_eq!(gate.records_of("call.rejected").len(), 2);
    assert_eq!(gate.records_of("call.decision").len(), 2);
}

/// What an upstream can do instead of answering, as the app and the journal are told.
#[test]
fn each_way_to_fail_has_its_words() {
    let silent = Portal::scripted(|_| Reply::Hang(Vec::new()));
    let other = Portal::scripted(|_| Reply::Last(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()));
    let closes = Portal::scripted(|_| Reply::Last(Vec::new()));
    // One that takes no more connections: its queue is full.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    full.bind(&any.into()).unwrap();
    full.listen(0).unwrap();
    let busy = full.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    let patience = Duration::from_millis(100);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&busy, patience) {
        queued.push(stream);
    }
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let no_tls = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"220 no TLS here\r\n");
        }
    });
    let http = |address: &dyn std::fmt::Display| format!("http://{address}");
    for (what, upstream, status, reason, outcome) in [
        (
            "no such name",
            "http://nobody.invalid".to_owned(),
            502,
            "upstream_unreachable",
            "not_forwarded",
        ),
        (
            "a full queue",
            http(&busy),
            504,
            "upstream_timeout",
            "not_forwarded",
        ),
        (
            "no TLS",
            format!("https://{no_tls}"),
            502,
            "upstream_unreachable",
            "not_forwarded",
        ),
        (
            "silence",
            http(&silent.address),
            504,
            "upstream_timeout",
            "timeout",
        ),
        (
            "no HTTP",
            http(&other.address),
            502,
            "upstream_invalid",
            "reset",
        ),
        (
            "an end",
            http(&closes.address),
            502,
            "upstream_unreachable",
            "reset",
        ),
    ] {
        let mut gate = Setup::default()
            .with(&format!("upstream = {upstream:?}"))
            .with("allow_plain_upstream = true")
            .grant("T1", &["crm"])
            .section("[limits]\nconnect_secs = 1\nfirst_byte_secs = 2")
            .start();
        let answer = support::exchange(&gate.address, &request("T1")).unwrap();
        assert_eq!((answer.status, answer.reason()), (status, reason), "{what}");
        gate.stop();
        let end = &gate.records_of("call.completion")[0];
        assert_eq!(
            (&end["outcome"], &end["response"]["status"]),
            (&outcome.into(), &status.into()),
            "{what}: {end}"
        );
    }
}
