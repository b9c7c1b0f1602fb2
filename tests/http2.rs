//! HTTP/2 from apps: the same calls as by HTTP/1.1, and floods that cost their sender the connection. Apps known by
//! certificate.

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::gate::Setup;
use support::portal::{Reply, ok};
use support::tls::{self, Stream, certificates, connect};
use support::{Gate, Portal};

/// A gate by TLS, and an app's side of it.
struct Rig {
    gate: Gate,
    app: Arc<rustls::ClientConfig>,
    certs: tempfile::TempDir,
}

fn rig(portal: &Portal, more: &str, section: &str) -> Rig {
    let certs = certificates();
    let gate = Setup::before(&portal.address)
        .grant("T", &["crm"])
        .section(section)
        .with(&tls::setting(certs.path(), more))
        .start();
    Rig {
        app: tls::client(&[certs.path()], &["h2"], None),
        gate,
        certs,
    }
}

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn handshake(rig: &Rig) -> Sender {
    let stream = tokio::net::TcpStream::connect(&rig.gate.address)
        .await
        .unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::clone(&rig.app))
        .connect(name, stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

fn call(verb: &str, target: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(verb)
        .uri(format!("https://localhost{target}"))
        .header("authorization", "Bearer T");
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn calls_come_by_http2_as_by_http1() {
    let portal = Portal::scripted(|request| {
        Reply::Bytes(ok(&format!("{{\"result\":{:?}}}", request.target)))
    });
    let mut rig = rig(&portal, "", "");
    block_on(async {
        let sender = handshake(&rig).await;
        let mut calls = Vec::new();
        for number in 0..20 {
            let mut sender = sender.clone();
            calls.push(tokio::spawn(async move {
                let target = format!("/rest/crm.deal.list?start={number}");
                let answer = sender.send_request(call("GET", &target, "")).await.unwrap();
                assert_eq!(answer.status(), 200);
                assert!(answer.headers().contains_key("grantgate-decision"));
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, format!("{{\"result\":{target:?}}}"));
            }));
        }
        for call in calls {
            call.await.unwrap();
        }
        let mut sender = sender;
        let body = "{\"fields\":{\"TITLE\":\"a\"}}";
        let answer = sender
            .send_request(call("POST", "/rest/crm.deal.add", body))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let refused = sender
            .send_request(call("GET", "/rest/task.item.list", ""))
            .await
            .unwrap();
        assert_eq!(refused.status(), 403);
        assert_eq!(refused.headers()["grantgate-reason"], "scope_missing");
        let text = refused.into_body().collect().await.unwrap().to_bytes();
        assert!(text.starts_with(b"{\"error\":\"insufficient_scope\""));
    });
    let received = portal.take();
    assert_eq!(received.len(), 21, "the refused one stays here");
    let add = received.iter().find(|one| one.method == "POST").unwrap();
    assert_eq!(add.body, b"{\"fields\":{\"TITLE\":\"a\"}}");
    assert_eq!(add.header("host"), Some(portal.address.as_str()));
    assert!(received.iter().all(|one| one.header("cookie").is_none()));
    rig.gate.stop();
    let decisions = rig.gate.records_of("call.decision");
    assert_eq!(decisions.len(), 22);
    assert!(
        decisions
            .iter()
            .all(|record| record["http"]["version"] == "2")
    );
    assert_eq!(rig.gate.records_of("call.completion").len(), 22);
}

#[test]
fn an_authority_and_a_host_that_differ_are_refused() {
    let portal = Portal::start();
    let rig = rig(&portal, "", "");
    block_on(async {
        let mut sender = handshake(&rig).await;
        let mut request = call("GET", "/rest/crm.deal.list", "");
        let other = http::HeaderValue::from_static("elsewhere.example");
        request.headers_mut().insert("host", other);
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.headers()["grantgate-reason"], "ambiguous_framing");
    });
    assert!(portal.take().is_empty());
}

#[test]
fn without_http2_in_the_handshake_http1_is_spoken() {
    let portal = Portal::start();
    let rig = rig(&portal, "", "");
    assert!(served(&rig));
}

/// `client_ca`: who shows no certificate, or one of another authority, makes no call; who is let in stands in the record.
#[test]
fn apps_are_known_by_certificate() {
    let portal = Portal::start();
    let ca = certificates();
    let setting = format!(", client_ca = {:?}", ca.path().join("ca.pem"));
    let mut rig = rig(&portal, &setting, "");
    let request =
        b"GET /rest/crm.deal.list?auth=T HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let stranger = certificates();
    for shows in [None, Some(stranger.path()), Some(ca.path())] {
        let app = tls::client(&[rig.certs.path()], &["http/1.1"], shows);
        let mut stream = connect(&rig.gate.address, &app);
        let _ = stream.write_all(request);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let let_in = shows == Some(ca.path());
        assert_eq!(answer.starts_with("HTTP/1.1 200"), let_in, "{answer}");
    }
    assert_eq!(portal.take().len(), 1);
    rig.gate.stop();
    let decisions = rig.gate.records_of("call.decision");
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0]["app_id"], "spiffe://grantgate.development/app");
    assert_eq!(decisions[0]["app_id_source"], "spiffe");
}

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A header block without tables (RFC 7541 section 6.2.2).
fn block(verb: &str, target: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", verb),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", target),
        ("authorization", "Bearer T"),
        ("content-type", "application/json"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

fn open(rig: &Rig) -> Stream {
    let mut stream = connect(&rig.gate.address, &rig.app);
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

/// Sends until the gate closes the connection; false if it takes all of it.
fn flood(stream: &mut Stream, mut next: impl FnMut(u32) -> Vec<u8>) -> bool {
    let socket = stream.sock.try_clone().unwrap();
    socket
        .set_write_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let closed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // What the gate answers is taken, so that it is the flood that is measured and not a full buffer.
        let mut reader = socket.try_clone().unwrap();
        let closed = &closed;
        scope.spawn(move || {
            let mut taken = vec![0; 65_536];
            while matches!(reader.read(&mut taken), Ok(1..)) {}
            closed.store(true, Ordering::Relaxed);
        });
        let until = Instant::now() + Duration::from_secs(8);
        let mut number = 0;
        while !closed.load(Ordering::Relaxed) && Instant::now() < until {
            number += 1;
            if stream.write_all(&next(number)).is_err() {
                closed.store(true, Ordering::Relaxed);
            }
        }
        let was_closed = closed.load(Ordering::Relaxed);
        let _ = socket.shutdown(std::net::Shutdown::Both);
        was_closed
    })
}

/// F16: each flood costs its sender the connection, memory stays, and others are served meanwhile and afterwards.
#[test]
fn floods_are_cut_off() {
    let portal = Portal::start();
    let rig = rig(
        &portal,
        "",
        "[limits]\nbody_secs = 2\nhead_secs = 2\nanswer_idle_secs = 2",
    );
    let resident = || support::resident_kib(rig.gate.pid());
    assert!(served(&rig));
    let before = resident();
    let get = |stream: u32| {
        frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &block("GET", "/rest/crm.deal.list"),
        )
    };
    let post = block("POST", "/rest/crm.deal.add");
    let mut one = open(&rig);
    assert!(
        flood(&mut one, |number| {
            let stream = number * 2 - 1;
            [
                get(stream),
                frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
            ]
            .concat()
        }),
        "rapid reset"
    );
    let mut one = open(&rig);
    assert!(
        flood(&mut one, |_| frame(PING, 0, 0, &[0; 8]).repeat(500)),
        "ping"
    );
    let mut one = open(&rig);
    assert!(
        flood(&mut one, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])
            .repeat(500)),
        "settings"
    );
    let mut one = open(&rig);
    assert!(
        flood(&mut one, |number| if number == 1 {
            frame(HEADERS, 0, 1, &block("GET", "/rest/crm.deal.list"))
        } else {
            frame(CONTINUATION, 0, 1, b"\x00\x03x-y\x01z")
        }),
        "continuation"
    );
    let mut one = open(&rig);
    assert!(
        flood(&mut one, |number| if number == 1 {
            frame(HEADERS, END_HEADERS, 1, &post)
        } else {
            frame(DATA, 0, 1, b"").repeat(100)
        }),
        "empty data"
    );
    assert!(served(&rig), "others are served");
    let grown = resident().saturating_sub(before);
    println!("five floods: memory grew by {grown} KiB");
    assert!(grown < 32 * 1024, "{grown} KiB");
}

/// A call under way is no licence to flood, nor is a body that goes on: no time-out ends this one.
#[test]
fn pings_beside_a_call_are_cut_off() {
    let portal = Portal::start();
    let rig = rig(&portal, "", "");
    let mut one = open(&rig);
    let post = block("POST", "/rest/crm.deal.add");
    assert!(flood(&mut one, |number| {
        let pings = frame(PING, 0, 0, &[0; 8]).repeat(500);
        match number {
            1 => frame(HEADERS, END_HEADERS, 1, &post),
            number if number.is_multiple_of(50) => [pings, frame(DATA, 0, 1, b" ")].concat(),
            _ => pings,
        }
    }));
}

/// A peer that takes no byte of its answers is closed, and what it held is free again.
#[test]
fn a_window_of_zero_holds_nothing_for_long() {
    let portal = Portal::scripted(|_| {
        Reply::Bytes(ok(&format!("{{\"result\":{:?}}}", "x".repeat(300_000))))
    });
    let rig = rig(&portal, "", "[limits]\nanswer_idle_secs = 1");
    let mut stream = connect(&rig.gate.address, &rig.app);
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE = 0
    stream
        .write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]))
        .unwrap();
    for number in 0..10 {
        let headers = block("GET", "/rest/crm.deal.list");
        let flags = END_STREAM | END_HEADERS;
        stream
            .write_all(&frame(HEADERS, flags, number * 2 + 1, &headers))
            .unwrap();
    }
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    while !rig
        .gate
        .admin("/metrics")
        .text()
        .contains("grantgate_calls_in_flight{gate=\"portal\"} 0")
    {
        std::thread::yield_now();
    }
}

fn served(rig: &Rig) -> bool {
    let app = tls::client(&[rig.certs.path()], &["http/1.1"], None);
    let mut stream = connect(&rig.gate.address, &app);
    stream
        .write_all(b"GET /rest/crm.deal.list?auth=T HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.starts_with("HTTP/1.1 200")
}

/// A peer that says nothing is closed, and a body that ends by a reset without an error is no body.
#[test]
fn silence_and_a_reset_body_end_their_connection_and_call() {
    let portal = Portal::start();
    let mut rig = rig(&portal, "", "[limits]\nhead_secs = 1");
    let mut silent = connect(&rig.gate.address, &rig.app);
    // The handshake alone.
    while silent.conn.is_handshaking() {
        silent.conn.complete_io(&mut silent.sock).unwrap();
    }
    let mut one = open(&rig);
    let headers = block("POST", "/rest/crm.deal.add");
    one.write_all(&frame(HEADERS, END_HEADERS, 1, &headers))
        .unwrap();
    one.write_all(
        &[
            frame(DATA, 0, 1, b"{\"a\":"),
            frame(RST_STREAM, 0, 1, &[0; 4]),
        ]
        .concat(),
    )
    .unwrap();
    for stream in [&mut silent, &mut one] {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(portal.take().is_empty(), "half a body is not forwarded");
    rig.gate.stop();
    assert!(
        rig.gate
            .records_of("call.decision")
            .iter()
            .all(|record| record["decision"] != "allow")
    );
}

/// A peer that says nothing does not hold a stop until its grace is over.
#[test]
fn silence_does_not_hold_a_stop() {
    let portal = Portal::start();
    let mut rig = rig(&portal, "", "");
    let mut silent = connect(&rig.gate.address, &rig.app);
    while silent.conn.is_handshaking() {
        silent.conn.complete_io(&mut silent.sock).unwrap();
    }
    let mut open = open(&rig);
    open.flush().unwrap();
    let asked = Instant::now();
    assert_eq!(rig.gate.stop().code(), Some(0));
    // The default grace is 30 s.
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
}
