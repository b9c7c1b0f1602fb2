//! A client that sends bytes as they are and reads answers without judging them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A request with a body, as bytes.
pub fn post(target: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nhost: gate\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A connection to a gate.
pub struct Client(BufReader<TcpStream>);

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// False if the connection ended before the body did.
    pub whole: bool,
}

impl Client {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the gate listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// As [`Client::connect`]; `None` if nobody listens.
    pub fn try_connect(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        // The gate may have closed already; what it answered is still to be read.
        let _ = self.0.get_mut().write_all(bytes);
        self
    }

    /// The next answer; `None` if the connection ends without one.
    pub fn answer(&mut self) -> Option<Answer> {
        self.answer_to("GET")
    }

    /// As [`Client::answer`]; an answer to HEAD has no body.
    pub fn answer_to(&mut self, verb: &str) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if patient(self.0.read_until(b'\n', &mut head)).unwrap_or(0) == 0 {
                return None;
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.trim_end().lines();
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if status == 100 {
            return self.answer_to(verb);
        }
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let (body, whole) = if verb == "HEAD" {
            (Vec::new(), true)
        } else {
            read_body(&mut self.0, &headers)
        };
        Some(Answer {
            status,
            headers,
            body,
            whole,
        })
    }

    /// True once the other side has closed.
    pub fn is_closed(&mut self) -> bool {
        matches!(patient(self.0.read(&mut [0; 1])), Ok(0) | Err(_))
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn reason(&self) -> &str {
        self.header("grantgate-reason").unwrap_or("-")
    }
}

/// What a read gave. A gate that neither answers nor closes is a finding, not an end.
fn patient(read: io::Result<usize>) -> io::Result<usize> {
    if let Err(error) = &read {
        let waited = matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        );
        assert!(!waited, "the gate neither answers nor closes");
    }
    read
}

/// One request on a connection of its own.
pub fn exchange(address: &str, request: &[u8]) -> Option<Answer> {
    Client::connect(address).send(request).answer()
}

/// Reads a body as its head frames it.
pub fn read_body(reader: &mut impl BufRead, headers: &[(String, String)]) -> (Vec<u8>, bool) {
    let find = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    let mut body = Vec::new();
    if find("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return (body, false);
            }
            let Ok(size) = usize::from_str_radix(line.trim(), 16) else {
                return (body, false);
            };
            let mut chunk = vec![0; size + 2];
            if reader.read_exact(&mut chunk).is_err() {
                return (body, false);
            }
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return (body, true);
            }
        }
    }
    match find("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => {
            body.resize(length, 0);
            let mut read = 0;
            while read < length {
                match reader.read(&mut body[read..]) {
                    Ok(0) | Err(_) => {
                        body.truncate(read);
                        return (body, false);
                    }
                    Ok(more) => read += more,
                }
            }
            (body, true)
        }
        None => (body, true),
    }
}
