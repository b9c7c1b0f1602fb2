//! Dead, slow and hostile upstreams: F10, F11 and F12.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::rig::{descriptors, metric, nothing_unrecorded, report, setup, turn, until, verify};
use crate::support::gate::Setup;
use crate::support::load::{Load, Plan};
use crate::support::portal::{Reply, ok};
use crate::support::{Client, Portal, resident_kib};

/// F10: a portal that takes calls and says nothing costs its own gate's calls their deadline, and no other gate anything.
#[test]
fn f10_a_portal_that_hangs_does_not_slow_another_gate() {
    let _turn = turn();
    let hangs = Arc::new(AtomicBool::new(false));
    let hung = Arc::clone(&hangs);
    let slow = Portal::scripted(move |_| {
        if hung.load(Ordering::Relaxed) {
            Reply::Hang(Vec::new())
        } else {
            Reply::Bytes(ok("{\"result\":true}"))
        }
    });
    let quick = Portal::start();
    let setup = setup(&slow)
        .section("[limits]\nfirst_byte_secs = 1\ncalls_in_flight = 64")
        .rule("operations = [\"crm.lead.*\"]\neffect = \"refuse\"");
    let other = format!(
        "[[gate]]\nname = \"other\"\nvendor = \"bitrix24\"\nlisten = \"127.0.0.1:0\"\nupstream = \"http://{}\"\n\
         [[gate.grant]]\ntoken = \"at-1\"\nscopes = [\"crm\"]\n",
        quick.address
    );
    let mut gate = Setup {
        after: setup.after.clone() + &other,
        ..setup
    }
    .start();
    let others = gate.addresses["other"].clone();
    let beside = Load::start(&Plan {
        clients: 2,
        refused: 0,
        pause: Duration::from_millis(2),
        ..Plan::of(&others)
    });
    beside.more(200);
    let base = beside.forget().percentile(99);
    hangs.store(true, Ordering::Relaxed);
    // More than may be under way at once: the rest is turned away.
    let load = Load::start(&Plan {
        clients: 80,
        refused: 0,
        pause: Duration::from_millis(50),
        ..Plan::of(&gate.address)
    });
    until("a time-out", Duration::from_secs(5), || {
        load.told().of(504) > 30
    });
    beside.forget();
    beside.more(400);
    let during = beside.stop();
    let mut in_flight = 0.0;
    until("as many as may be", Duration::from_secs(5), || {
        in_flight = metric(&gate, "grantgate_calls_in_flight{gate=\"portal\"}");
        in_flight >= 64.0
    });
    let resident = resident_kib(gate.pid());
    assert!(in_flight <= 64.0, "{in_flight}");
    assert!(resident < 64 * 1024, "{resident} KiB");
    hangs.store(false, Ordering::Relaxed);
    let back = until("recovery", Duration::from_secs(5), || {
        load.told().of(200) > 0
    });
    let told = load.stop();
    assert_eq!(during.answers(), during.of(200));
    assert!(told.of(504) >= 32, "{:?}", told.statuses);
    assert!(told.of(503) > 0, "{:?}", told.statuses);
    gate.stop();
    assert_eq!(verify(&gate.state_dir()).0, 0);
    let p99 = during.percentile(99);
    report(
        "F10",
        &format!(
            "504 after 1 s for {} calls, {in_flight} under way, {resident} KiB; other gate p99 {base:?} before, {p99:?} during; back after {back:?}",
            told.of(504)
        ),
    );
    assert!(
        p99 < (base * 2).max(Duration::from_millis(30)),
        "{p99:?} after {base:?}"
    );
}

/// F11: a portal that resets, cuts and trickles at random: each call reaches it at most once, its end is told as it was, and
/// a connection that was in trouble is not used again.
fn broken_answers(length: Duration, pause: Duration) {
    let number = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&number);
    let evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let portal = Portal::scripted(move |request| {
        let id = request.header("x-request-id").unwrap();
        let whole = ok(&format!(
            "{{\"result\":{id:?},\"more\":{:?}}}",
            "x".repeat(2000)
        ));
        let n = counted.fetch_add(1, Ordering::Relaxed);
        match (n.wrapping_mul(2_654_435_761) >> 7) % 100 {
            0..5 => Reply::Last(Vec::new()),
            5..10 => Reply::Reset(Vec::new()),
            10..15 => Reply::Last(whole[..10].to_vec()),
            15..20 => Reply::Reset(whole[..10].to_vec()),
            20..25 => Reply::Last(whole[..whole.len() / 2].to_vec()),
            25..30 => Reply::Reset(whole[..whole.len() / 2].to_vec()),
            30..40 => Reply::Last([whole.as_slice(), evil].concat()),
            40..50 => Reply::Bytes([whole.as_slice(), evil].concat()),
            50..60 => Reply::Pieces(whole, 500, Duration::from_millis(1)),
            // Stops for longer than anybody waits.
            60 => Reply::Hang(whole[..whole.len() / 2].to_vec()),
            61 => Reply::Hang(Vec::new()),
            _ => Reply::Bytes(whole),
        }
    });
    let mut gate = setup(&portal)
        .section("[limits]\nfirst_byte_secs = 2\nanswer_idle_secs = 1")
        .start();
    let load = Load::start(&Plan {
        refused: 0,
        is_echoed: true,
        pause,
        ..Plan::of(&gate.address)
    });
    load.more(1000);
    std::thread::park_timeout(length);
    let told = load.stop();
    gate.stop();
    assert_eq!(told.strange, 0, "an answer that belongs to another call");
    let reached = nothing_unrecorded(&portal, &gate.state_dir());
    assert_eq!(verify(&gate.state_dir()).0, 0);
    let decisions = gate.records_of("call.decision");
    let mut ends = std::collections::BTreeMap::new();
    for end in gate.records_of("call.completion") {
        *ends
            .entry(end["outcome"].as_str().unwrap().to_owned())
            .or_insert(0_u64) += 1;
    }
    assert_eq!(
        u64::try_from(decisions.len()).unwrap(),
        ends.values().sum::<u64>()
    );
    for outcome in ["reset", "truncated", "timeout", "ok"] {
        assert!(ends.contains_key(outcome), "{ends:?}");
    }
    assert_eq!(ends["ok"], told.of(200), "whole answers are ok, no other");
    report(
        "F11",
        &format!(
            "{reached} calls reached the portal, each once; told {:?}, {} broken off; recorded {ends:?}",
            told.statuses, told.broken
        ),
    );
}

#[test]
fn f11_broken_answers_are_told_and_never_tried_twice() {
    let _turn = turn();
    broken_answers(Duration::ZERO, Duration::ZERO);
}

#[test]
#[ignore = "long: ten minutes"]
fn f11_ten_minutes_of_broken_answers() {
    let _turn = turn();
    broken_answers(Duration::from_mins(10), Duration::from_millis(20));
}

/// F12: what a hostile portal answers never splits, never upgrades, and the next request is answered right.
#[test]
fn f12_hostile_answers_stay_within_their_call() {
    let _turn = turn();
    let head = |text: &str| format!("HTTP/1.1 {text}\r\n\r\n").into_bytes();
    let many = (0..200)
        .map(|n| format!("x-{n}: 1\r\n"))
        .collect::<String>();
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("two lengths", [head("200 OK\r\ncontent-length: 3\r\ncontent-length: 9"), b"abcHTTP/1".to_vec()].concat()),
        ("length and chunked", [head("200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked"), b"3\r\nabc\r\n0\r\n\r\n".to_vec()].concat()),
        ("101", [head("101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket"), b"frames".to_vec()].concat()),
        ("hop by hop", [head("200 OK\r\ncontent-length: 2\r\nconnection: x-secret\r\nx-secret: 1\r\nkeep-alive: timeout=9\r\nproxy-authenticate: Basic\r\nupgrade: h2c"), b"ok".to_vec()].concat()),
        ("status 999", [head("999 Odd\r\ncontent-length: 2"), b"ok".to_vec()].concat()),
        ("many fields", head(&format!("200 OK\r\n{many}content-length: 0"))),
        ("a long field", head(&format!("200 OK\r\nx: {}\r\ncontent-length: 0", "y".repeat(1 << 20)))),
        ("a fold", [head("200 OK\r\nx: 1\r\n 2\r\ncontent-length: 2"), b"ok".to_vec()].concat()),
        ("no HTTP", b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
        ("a bad chunk", [head("200 OK\r\ntransfer-encoding: chunked"), b"zz\r\nabc\r\n0\r\n\r\n".to_vec()].concat()),
        ("a redirect away", head("302 Found\r\nlocation: http://elsewhere.example/\r\ncontent-length: 0")),
        ("a split", [head("200 OK\r\ncontent-length: 0\r\nx: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4"), b"evil".to_vec()].concat()),
        ("many hundreds", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000).into_bytes()),
    ];
    let answers = hostile.clone();
    let portal = Portal::scripted(move |request| {
        let place = request
            .target
            .split("n=")
            .nth(1)
            .and_then(|n| n.parse::<usize>().ok());
        match place {
            Some(place) => Reply::Last(answers[place].1.clone()),
            None => Reply::Bytes(ok("{\"result\":\"right\"}")),
        }
    });
    let mut gate = setup(&portal)
        .section("[limits]\nfirst_byte_secs = 2\nanswer_idle_secs = 1")
        .start();
    let ask = |client: &mut Client, target: &str| {
        client
            .send(
                format!(
                    "GET {target} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\n\r\n"
                )
                .as_bytes(),
            )
            .answer()
    };
    let mut told = Vec::new();
    for (place, (what, _)) in hostile.iter().enumerate() {
        let mut client = Client::connect(&gate.address);
        let answer = ask(&mut client, &format!("/rest/crm.deal.list?n={place}")).unwrap();
        for name in ["x-secret", "keep-alive", "proxy-authenticate", "upgrade"] {
            assert_eq!(answer.header(name), None, "{what}: {name}");
        }
        let expected = match *what {
            // Chunked says how long it is (RFC 9112 section 6.3), and the app gets one length only.
            "length and chunked" | "hop by hop" | "a split" => (200, true),
            // The body breaks off, and so does the app's connection: it must not take it for whole.
            "a bad chunk" => (200, false),
            _ => (502, true),
        };
        assert_eq!((answer.status, answer.whole), expected, "{what}");
        assert!(!answer.text().contains("evil"), "{what}");
        let lengths = ["content-length", "transfer-encoding"].map(|name| answer.header(name));
        assert!(lengths.iter().flatten().count() <= 1, "{what}: {lengths:?}");
        // The next request, on the same connection unless its answer broke off.
        let next = if answer.whole {
            ask(&mut client, "/rest/crm.deal.list")
        } else {
            assert!(client.is_closed(), "{what}");
            ask(&mut Client::connect(&gate.address), "/rest/crm.deal.list")
        };
        let next = next.unwrap_or_else(|| panic!("no next answer after {what}"));
        assert_eq!(
            (next.status, next.text().as_str()),
            (200, "{\"result\":\"right\"}"),
            "after {what}"
        );
        told.push(format!("{what} {}", answer.status));
    }
    gate.stop();
    assert_eq!(
        gate.records_of("call.decision").len(),
        gate.records_of("call.completion").len()
    );
    report("F12", &told.join(", "));
}

/// An answer that goes on without end, fast or a byte now and then, is broken off in time, and so is one that the app takes
/// too slowly; the record says so, and nothing is held.
#[test]
fn answers_without_end_are_broken_off() {
    let _turn = turn();
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let portal = Portal::scripted(move |request| {
        let pause = Duration::from_millis(50);
        if request.target.contains("n=fast") {
            let piece = format!("10000\r\n{}\r\n", "x".repeat(1 << 16));
            Reply::Endless(head.to_vec(), piece.into_bytes(), Duration::ZERO)
        } else if request.target.contains("n=slow") {
            Reply::Endless(head.to_vec(), b"1\r\nx\r\n".to_vec(), pause)
        } else {
            Reply::Bytes(ok("{\"result\":\"right\"}"))
        }
    });
    let limits = "[limits]\nanswer_secs = 2\nanswer_idle_secs = 30";
    let mut gate = setup(&portal).section(limits).start();
    let mut told = Vec::new();
    for (what, target, pause) in [
        ("fast", "n=fast", Duration::ZERO),
        ("slow", "n=slow", Duration::ZERO),
        ("taken slowly", "n=fast", Duration::from_millis(1)),
    ] {
        let began = Instant::now();
        let mut stream = std::net::TcpStream::connect(&gate.address).unwrap();
        let request = format!(
            "GET /rest/crm.deal.list?{target} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let (mut taken, mut piece) = (0, vec![0; 65_536]);
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            taken += count;
            if !pause.is_zero() {
                std::thread::park_timeout(pause);
            }
        }
        let took = began.elapsed();
        assert!(
            !piece.ends_with(b"0\r\n\r\n"),
            "{what}: it does not look whole"
        );
        assert!((2..5).contains(&took.as_secs()), "{what}: {took:?}");
        told.push(format!("{what}: {taken} bytes in {took:?}"));
    }
    until("nothing held", Duration::from_secs(5), || {
        metric(&gate, "grantgate_calls_in_flight{gate=\"portal\"}") == 0.0
    });
    let mut client = Client::connect(&gate.address);
    client.send(
        b"GET /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\n\r\n",
    );
    assert_eq!(client.answer().unwrap().text(), "{\"result\":\"right\"}");
    gate.stop();
    let ends = gate.records_of("call.completion");
    let late = ends.iter().filter(|end| end["outcome"] == "timeout");
    assert_eq!(late.count(), 3, "{ends:?}");
    report("F12", &told.join(", "));
}

/// After trouble of every kind nothing is held any more.
#[test]
fn after_trouble_nothing_is_held() {
    let _turn = turn();
    let portal = Portal::scripted(|request| {
        if request.target.contains("deal.get") {
            Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec())
        } else {
            Reply::Bytes(ok("{\"result\":true}"))
        }
    });
    let gate = setup(&portal)
        .section("[limits]\nanswer_idle_secs = 1")
        .start();
    let load = Load::start(&Plan::of(&gate.address));
    load.more(100);
    let before = descriptors(gate.pid());
    let began = Instant::now();
    let mut hanging: Vec<Client> = (0..50).map(|_| Client::connect(&gate.address)).collect();
    for client in &mut hanging {
        client.send(b"GET /rest/crm.deal.get HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\nx-request-id: h\r\n\r\n");
    }
    for client in &mut hanging {
        assert!(client.answer().is_none_or(|answer| !answer.whole));
    }
    drop(hanging);
    load.more(100);
    load.stop();
    until("everything free", Duration::from_secs(5), || {
        metric(&gate, "grantgate_calls_in_flight{gate=\"portal\"}") == 0.0
            && descriptors(gate.pid()) <= before
    });
    report(
        "held",
        &format!(
            "50 answers that stopped half way: all free after {:?}",
            began.elapsed()
        ),
    );
}
