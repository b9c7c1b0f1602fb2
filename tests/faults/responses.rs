//! Upstreams that answer in their own way: too early, in tiny pieces, of two minds about the length; and what that does to
//! other calls and other gates. F10 and F12 in depth.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::rig::{metric, report, setup, turn, until};
use crate::support::gate::Setup;
use crate::support::portal::{Reply, ok};
use crate::support::{Client, Gate, Portal, exchange, post};

/// A second gate of the same process before this portal, and its address.
fn with_other(setup: Setup, portal: &Portal) -> Gate {
    let other = format!(
        "[[gate]]\nname = \"other\"\nvendor = \"bitrix24\"\nlisten = \"127.0.0.1:0\"\nupstream = \"http://{}\"\n\
         [[gate.grant]]\ntoken = \"at-1\"\nscopes = [\"crm\"]\n",
        portal.address
    );
    Setup {
        after: setup.after.clone() + &other,
        ..setup
    }
    .start()
}

const CALL: &[u8] =
    b"GET /rest/crm.deal.list HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\n\r\n";

/// The longest that a call takes within a second.
fn longest(address: &str) -> Duration {
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    let mut client = Client::connect(address);
    while began.elapsed() < Duration::from_secs(1) {
        let sent = Instant::now();
        let answer = client.send(CALL).answer().expect("an answer");
        let took = sent.elapsed();
        let said = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "after {took:?}: {said}");
        longest = longest.max(took);
    }
    longest
}

/// F10: an answer in tiny pieces, or of bytes that are no piece at all, does not keep a core from other gates' calls.
#[test]
fn f10_tiny_pieces_leave_time_for_others() {
    let _turn = turn();
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let portal = Portal::scripted(move |request| {
        let piece = if request.target.contains("tiny") {
            b"1\r\nx\r\n".repeat(10_000)
        } else {
            b"0".repeat(60_000)
        };
        Reply::Endless(head.to_vec(), piece, Duration::ZERO)
    });
    let quick = Portal::start();
    let gate = with_other(
        // The disk is not what is looked at: other tests press it.
        setup(&portal).section(
            "[audit]\nguarantee = \"durable\"\n[limits]\nanswer_secs = 4\nanswer_idle_secs = 2",
        ),
        &quick,
    );
    let other = &gate.addresses["other"];
    let base = longest(other);
    let mut told = Vec::new();
    for what in ["tiny", "none"] {
        let began = Instant::now();
        // One for each core.
        let floods: Vec<_> = (0..2)
            .map(|_| {
                let mut stream = TcpStream::connect(&gate.address).unwrap();
                let call = String::from_utf8_lossy(CALL).replace("list", &format!("list?n={what}"));
                stream.write_all(call.as_bytes()).unwrap();
                std::thread::spawn(move || {
                    let mut taken = vec![0; 65_536];
                    while matches!(stream.read(&mut taken), Ok(1..)) {}
                })
            })
            .collect();
        let beside = longest(other);
        for flood in floods {
            flood.join().unwrap();
        }
        let took = began.elapsed();
        told.push(format!(
            "{what}: longest {base:?} before, {beside:?} beside, broken off after {took:?}"
        ));
        // A build without optimizations looks at such bytes ten times as long.
        let most = Duration::from_millis(if cfg!(debug_assertions) { 3000 } else { 500 });
        assert!(beside < most, "{what}: {beside:?}");
        assert!(took < Duration::from_secs(6), "{what}: {took:?}");
    }
    report("F10", &told.join("; "));
}

/// A portal that answers a call with `early` in its target before it has read the body, and then goes on with nothing.
fn hasty() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || hurry(stream));
        }
    });
    address
}

fn hurry(stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        for line in head.lines() {
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let early = head.starts_with("POST") && head.contains("early");
        if !early {
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
        }
        let status = if early { "413 Too Large" } else { "200 OK" };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
        if early {
            // Neither reads on nor closes, until the other side does.
            std::thread::park_timeout(Duration::from_secs(60));
        }
    }
}

/// F12: an answer that comes before the request was read gives the body's room back, and is the last on its connection.
#[test]
fn f12_early_answers_keep_no_room() {
    let _turn = turn();
    let limits = "[limits]\ninspected_total_mib = 16\ninspected_body_mib = 8";
    let gate = Setup::before(&hasty())
        .grant("at-1", &["crm"])
        .section(limits)
        .start();
    let body = |mib: usize| format!("{{\"auth\":\"at-1\",\"x\":\"{}\"}}", "y".repeat(mib << 20));
    for _ in 0..4 {
        let early = post("/rest/crm.deal.add?early=1", "application/json", &body(7));
        let answer = exchange(&gate.address, &early).unwrap();
        assert_eq!(answer.status, 413, "{}", answer.text());
    }
    for _ in 0..4 {
        let usual = post("/rest/crm.deal.add", "application/json", &body(7));
        assert_eq!(exchange(&gate.address, &usual).unwrap().status, 200);
    }
    report(
        "F12",
        "four early answers to 7 MiB of which 16 have room: four more calls of 7 MiB found it",
    );
}

/// F12: the lengths of an answer without a body are made one, or refused; the next answer is right.
#[test]
fn f12_lengths_of_answers_without_a_body() {
    let _turn = turn();
    let portal = Portal::scripted(|request| {
        let lengths = request
            .target
            .split("n=")
            .nth(1)
            .unwrap_or("3")
            .replace('+', "\r\ncontent-length: ");
        let body = if request.method == "HEAD" { "" } else { "abc" };
        Reply::Bytes(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {lengths}\r\n\r\n{body}").into_bytes(),
        )
    });
    let gate = setup(&portal).start();
    let mut told = Vec::new();
    for (lengths, expected) in [
        ("3", Some("3")),
        ("003", Some("3")),
        ("0", Some("0")),
        ("3+3", Some("3")),
        ("3+4", None),
        ("abc", None),
        ("%2B3", None),
    ] {
        let mut client = Client::connect(&gate.address);
        let head = format!(
            "HEAD /rest/crm.deal.list?n={lengths} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\n\r\n"
        );
        let answer = client.send(head.as_bytes()).answer_to("HEAD").unwrap();
        match expected {
            Some(length) => {
                assert_eq!(
                    (answer.status, answer.header("content-length")),
                    (200, Some(length)),
                    "{lengths}"
                );
                let count = answer
                    .headers
                    .iter()
                    .filter(|(name, _)| name == "content-length")
                    .count();
                assert_eq!(count, 1, "{lengths}");
            }
            None => assert_eq!(answer.status, 502, "{lengths}"),
        }
        // On the same connection.
        let next = client.send(CALL).answer().unwrap();
        assert_eq!(
            (next.status, next.text().as_str()),
            (200, "abc"),
            "after {lengths}"
        );
        told.push(format!("{lengths}: {}", answer.status));
    }
    report(
        "F12",
        &format!("lengths of answers to HEAD: {}", told.join(", ")),
    );
}

/// The upstream's time to answer begins when it has the request, however long the app takes to send it; an app that stops
/// within it is told so, and not the vendor blamed.
#[test]
fn a_slow_upload_is_not_a_slow_vendor() {
    let _turn = turn();
    let portal = Portal::scripted(|_| Reply::Bytes(ok("{}")));
    let limits = "[limits]\nfirst_byte_secs = 1\nbody_idle_secs = 2";
    let mut gate = Setup::before(&portal.address)
        .of("ringcentral")
        .grant("at-1", &["Faxes"])
        .section(limits)
        .start();
    let head = |length: usize| {
        format!(
            "POST /restapi/v1.0/account/~/extension/~/fax HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer at-1\r\n\
             content-type: multipart/form-data; boundary=x\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    // Three seconds, a piece every tenth of one.
    let mut stream = TcpStream::connect(&gate.address).unwrap();
    stream.write_all(head(30 * 1000).as_bytes()).unwrap();
    for _ in 0..30 {
        stream.write_all(&[b'y'; 1000]).unwrap();
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 200");
    // One that stops half way.
    let mut stream = TcpStream::connect(&gate.address).unwrap();
    stream.write_all(head(2000).as_bytes()).unwrap();
    stream.write_all(&[b'y'; 1000]).unwrap();
    let began = Instant::now();
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(10));
    until("nothing held", Duration::from_secs(5), || {
        metric(&gate, "grantgate_calls_in_flight{gate=\"portal\"}") == 0.0
    });
    gate.stop();
    let outcomes: Vec<String> = gate
        .records_of("call.completion")
        .iter()
        .map(|end| end["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outcomes, ["ok", "client_gone"]);
}

/// Bodies that somebody sends to one gate, and does not end, leave other gates their room.
#[test]
fn bodies_of_one_gate_leave_others_their_room() {
    let _turn = turn();
    let portal = Portal::start();
    let limits = "[limits]\ninspected_total_mib = 16\ninspected_body_mib = 8";
    let gate = with_other(setup(&portal).section(limits), &portal);
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&gate.address).unwrap();
        let length = 8_000_000;
        let head = format!(
            "POST /rest/crm.deal.add HTTP/1.1\r\nhost: gate\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{{\"x\":\""
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&vec![b'y'; length - 100]);
        held.push(stream);
    }
    let body = format!("{{\"auth\":\"at-1\",\"x\":\"{}\"}}", "y".repeat(5 << 20));
    let request = post("/rest/crm.deal.add", "application/json", &body);
    assert_eq!(
        exchange(&gate.addresses["other"], &request).unwrap().status,
        200
    );
}
