//! The demo's app as an HTTP client: one request a connection.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::Context as _;

use crate::oauth::{HttpRequest, HttpResponse, Sending, Transport, Unanswered};

/// A client of one gate.
pub(super) struct Client {
    gate: String,
}

impl Client {
    pub(super) fn of(gate: &str) -> Self {
        Self {
            gate: gate.to_owned(),
        }
    }

    /// Makes a call with a token; `request` is verb and target.
    pub(super) fn call(
        &self,
        request: &str,
        body: &str,
        token: &str,
    ) -> anyhow::Result<HttpResponse> {
        let (verb, target) = request.split_once(' ').unwrap_or_default();
        let mut call = http::Request::builder()
            .method(verb)
            .uri(target)
            .header("authorization", format!("Bearer {token}"));
        if !body.is_empty() {
            call = call.header("content-type", "application/json");
        }
        self.exchange(&call.body(body.as_bytes().to_vec())?)
    }

    /// Sends a request and reads its answer to the end of the connection.
    fn exchange(&self, request: &HttpRequest) -> anyhow::Result<HttpResponse> {
        let mut stream = TcpStream::connect(&self.gate)?;
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let mut bytes = format!(
            "{} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
            request.method(),
            self.gate,
            request.body().len()
        )
        .into_bytes();
        for (name, value) in request.headers() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(request.body());
        stream.write_all(&bytes)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        read(&answer)
    }
}

impl Transport for Client {
    fn send(&self, request: HttpRequest) -> Sending<'_> {
        let answer = self.exchange(&request);
        Box::pin(async move { answer.map_err(|error| Unanswered(error.to_string())) })
    }
}

/// Reads an answer that came whole.
fn read(bytes: &[u8]) -> anyhow::Result<HttpResponse> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = head.parse(bytes)? else {
        anyhow::bail!("the answer has no whole head");
    };
    let mut answer = http::Response::builder().status(head.code.unwrap_or_default());
    let mut chunked = false;
    for header in head.headers.iter() {
        chunked |= header.name.eq_ignore_ascii_case("transfer-encoding");
        answer = answer.header(header.name, header.value);
    }
    let rest = bytes.get(end..).unwrap_or_default();
    let body = if chunked {
        unchunked(rest).context("the answer's chunks are not whole")?
    } else {
        rest.to_vec()
    };
    Ok(answer.body(body)?)
}

/// The body in chunks (RFC 9112 section 7.1).
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = memchr::memmem::find(rest, b"\r\n")?;
        let size = usize::from_str_radix(str::from_utf8(rest.get(..end)?).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let from = end + 2;
        body.extend_from_slice(rest.get(from..from + size)?);
        rest = rest.get(from + size + 2..)?;
    }
}
