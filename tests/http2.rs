//! HTTP/2 from apps: the same calls as by HTTP/1.1, and floods that cost their sender the connection. Apps known by
//! certificate.

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::gate::Setup;
use support::http2::{DATA, END_HEADERS, HEADERS, RST_STREAM, block, frame, open};
use support::portal::{Reply, ok};
use support::tls::{self, certificates, connect};
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

/// A `client_ca` that is taken away reaches connections that stand: whom it let in has to come again, and is not let in.
#[test]
fn another_client_ca_reaches_connections_that_stand() {
    let portal = Portal::start();
    let (first, second) = (certificates(), certificates());
    let trusted = tempfile::tempdir().unwrap();
    let ca = trusted.path().join("apps.pem");
    std::fs::copy(first.path().join("ca.pem"), &ca).unwrap();
    let mut rig = rig(&portal, &format!(", client_ca = {ca:?}"), "");
    let call = b"GET /rest/crm.deal.list?auth=T HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let app = tls::client(&[rig.certs.path()], &["http/1.1"], Some(first.path()));
    let mut stands = connect(&rig.gate.address, &app);
    let ask = |stream: &mut tls::Stream| {
        let _ = stream.write_all(call);
        let mut answer = vec![0; 12];
        stream
            .read_exact(&mut answer)
            .map(|()| String::from_utf8(answer).unwrap())
    };
    assert_eq!(ask(&mut stands).unwrap(), "HTTP/1.1 200");
    // What is left of the answer.
    let _ = stands.read(&mut [0; 4096]).unwrap();
    std::fs::copy(second.path().join("ca.pem"), &ca).unwrap();
    rig.gate.signal(rustix::process::Signal::HUP);
    while !rig
        .gate
        .admin("/metrics")
        .text()
        .contains("grantgate_policy_generation 2")
    {
        std::thread::yield_now();
    }
    assert_eq!(ask(&mut stands).unwrap(), "HTTP/1.1 421");
    let mut rest = Vec::new();
    let _ = stands.read_to_end(&mut rest);
    assert!(
        ask(&mut connect(&rig.gate.address, &app)).is_err(),
        "nor by another connection"
    );
    let other = tls::client(&[rig.certs.path()], &["http/1.1"], Some(second.path()));
    assert_eq!(
        ask(&mut connect(&rig.gate.address, &other)).unwrap(),
        "HTTP/1.1 200"
    );
    assert_eq!(portal.take().len(), 2);
    rig.gate.stop();
    assert_eq!(
        rig.gate.records_of("call.rejected")[0]["reason"],
        "host_unknown"
    );
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
    let mut one = open(&rig.gate.address, &rig.app, &[]);
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
    let mut open = open(&rig.gate.address, &rig.app, &[]);
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
