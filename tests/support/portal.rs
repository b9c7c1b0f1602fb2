//! A scripted portal: keeps what arrives, byte for byte, and answers as it is told.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::wire::read_body;

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub method: String,
    pub target: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A portal on a port of its own; it lives as long as the test's process.
pub struct Portal {
    pub address: String,
    received: Arc<Mutex<Vec<Received>>>,
    /// Who is connected.
    peers: Arc<Mutex<HashSet<SocketAddr>>>,
    forgets: Arc<std::sync::atomic::AtomicBool>,
}

/// What a portal does with a request: bytes to send, and whether to go on with the connection.
pub type Script = dyn Fn(&Received) -> Reply + Send + Sync;

pub enum Reply {
    /// Sends these bytes and waits for the next request.
    Bytes(Vec<u8>),
    /// Sends these bytes and closes.
    Last(Vec<u8>),
    /// Sends these bytes and resets the connection.
    Reset(Vec<u8>),
    /// Sends these bytes in pieces of so many, with so much time between them, and waits for the next request.
    Pieces(Vec<u8>, usize, Duration),
    /// Sends the first bytes, then the second again and again with so much time between, until the other side closes.
    Endless(Vec<u8>, Vec<u8>, Duration),
    /// Sends these bytes and neither closes nor goes on, until the other side does.
    Hang(Vec<u8>),
}

impl Portal {
    /// A portal that answers every call with the same JSON.
    pub fn start() -> Self {
        Self::scripted(|_| Reply::Bytes(ok(r#"{"result":true}"#)))
    }

    /// As [`Portal::scripted`], of which nobody asks what has arrived.
    pub fn forgetful(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let portal = Self::scripted(script);
        portal
            .forgets
            .store(true, std::sync::atomic::Ordering::Relaxed);
        portal
    }

    pub fn scripted(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let received = Arc::new(Mutex::new(Vec::new()));
        let forgets = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let forget = Arc::clone(&forgets);
        let peers = Arc::new(Mutex::new(HashSet::new()));
        let connected = Arc::clone(&peers);
        let (seen, script): (_, Arc<Script>) = (Arc::clone(&received), Arc::new(script));
        std::thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                let (forget, peers) = (Arc::clone(&forget), Arc::clone(&connected));
                peers.lock().unwrap().insert(peer);
                std::thread::spawn(move || {
                    converse(stream, &seen, &forget, script.as_ref());
                    peers.lock().unwrap().remove(&peer);
                });
            }
        });
        Self {
            address,
            peers,
            received,
            forgets,
        }
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until it has read all that was sent by those who have gone; nobody else may be connected.
    pub fn settle(&self) {
        // Those who came before are accepted before this one.
        let last = TcpStream::connect(&self.address).unwrap();
        let peer = last.local_addr().unwrap();
        while !self.peers.lock().unwrap().contains(&peer) {
            std::thread::yield_now();
        }
        drop(last);
        while !self.peers.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
    }

    /// What has arrived since the last time.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

/// A plain 200 with a JSON body.
pub fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn converse(
    stream: TcpStream,
    seen: &Mutex<Vec<Received>>,
    forgets: &std::sync::atomic::AtomicBool,
    script: &Script,
) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let reply = script(&request);
        if !forgets.load(std::sync::atomic::Ordering::Relaxed) {
            seen.lock().unwrap().push(request);
        }
        let (bytes, goes_on, hangs) = match reply {
            Reply::Bytes(bytes) => (bytes, true, false),
            Reply::Last(bytes) => (bytes, false, false),
            Reply::Hang(bytes) => (bytes, false, true),
            Reply::Reset(bytes) => {
                let stream = reader.get_mut();
                let _ = stream.write_all(&bytes);
                // Closed so, the system sends RST in place of FIN.
                let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
                return;
            }
            Reply::Pieces(bytes, size, pause) => {
                let sent = bytes
                    .chunks(size)
                    .all(|piece| pausing(reader.get_mut(), piece, pause));
                if sent {
                    continue;
                }
                return;
            }
            Reply::Endless(head, piece, pause) => {
                let stream = reader.get_mut();
                let _ = stream.write_all(&head);
                while pausing(stream, &piece, pause) {}
                return;
            }
        };
        if reader.get_mut().write_all(&bytes).is_err() {
            return;
        }
        if hangs {
            let mut rest = Vec::new();
            let _ = std::io::Read::read_to_end(&mut reader, &mut rest);
        }
        if !goes_on {
            return;
        }
    }
}

/// Sends a piece, then waits; false once the other side has closed.
fn pausing(stream: &mut TcpStream, piece: &[u8], pause: Duration) -> bool {
    let sent = stream.write_all(piece).is_ok();
    if !pause.is_zero() {
        std::thread::park_timeout(pause);
    }
    sent
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.trim_end().lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let (body, _) = read_body(reader, &headers);
    Some(Received {
        method,
        target,
        headers,
        body,
    })
}
