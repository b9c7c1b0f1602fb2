//! A request as the emulated portal reads it, in its own simple way.

use http::request::Parts;
use serde_json::{Map, Value};

use super::php;

/// What a request says, as far as the emulator looks at it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// True for `/rest/api/`.
    pub(super) rest3: bool,
    pub(super) xml: bool,
    pub(super) token: Option<String>,
    pub(super) webhook: bool,
    pub(super) parameters: Map<String, Value>,
    /// Names and lengths of uploaded files.
    pub(super) files: Vec<(String, usize)>,
}

pub(super) fn read(head: &Parts, body: &[u8]) -> Option<Asked> {
    let segments: Vec<&str> = head
        .uri
        .path()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let (rest3, segments) = match segments.as_slice() {
        ["rest", "api", rest @ ..] => (true, rest),
        ["rest", rest @ ..] => (false, rest),
        _ => return None,
    };
    let (pair, method) = match segments {
        [method] => (None, *method),
        [user, secret, method] => (Some(format!("{user}/{secret}")), *method),
        _ => return None,
    };
    let (method, xml) = match (method.strip_suffix(".json"), method.strip_suffix(".xml")) {
        (Some(method), _) => (method, false),
        (None, Some(method)) => (method, true),
        (None, None) => (method, false),
    };
    let mut parameters = php::parse(head.uri.query().unwrap_or_default().as_bytes());
    let mut files = Vec::new();
    read_body(head, body, &mut parameters, &mut files);
    let bearer = head
        .headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .map(|(_, token)| token.to_owned());
    let named = |name: &str| {
        let value = parameters.get(name).and_then(Value::as_str);
        value.map(str::to_owned)
    };
    let webhook = pair.is_some();
    let token = bearer
        .or_else(|| named("auth"))
        .or_else(|| named("access_token"))
        .or(pair);
    Some(Asked {
        method: method.to_owned(),
        rest3,
        xml,
        token,
        webhook,
        parameters,
        files,
    })
}

fn read_body(
    head: &Parts,
    body: &[u8],
    parameters: &mut Map<String, Value>,
    files: &mut Vec<(String, usize)>,
) {
    let kind = head
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if let Some((_, boundary)) = kind
        .strip_prefix("multipart/form-data")
        .and_then(|rest| rest.split_once("boundary="))
    {
        return read_parts(body, boundary.trim_matches('"'), parameters, files);
    }
    if kind.starts_with("application/json") {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => parameters.extend(members),
            Ok(list @ Value::Array(_)) => parameters.extend(
                php::entries(&list)
                    .into_iter()
                    .map(|(key, value)| (key, value.clone())),
            ),
            _ => {}
        }
        return;
    }
    parameters.extend(php::parse(body));
}

fn read_parts(
    body: &[u8],
    boundary: &str,
    parameters: &mut Map<String, Value>,
    files: &mut Vec<(String, usize)>,
) {
    let delimiter = format!("--{boundary}");
    let mut begins = memchr::memmem::find_iter(body, delimiter.as_bytes()).peekable();
    while let (Some(begin), Some(&end)) = (begins.next(), begins.peek()) {
        let part = body.get(begin + delimiter.len() + 2..end.saturating_sub(2));
        let Some((head, content)) = part.and_then(|part| {
            let cut = memchr::memmem::find(part, b"\r\n\r\n")?;
            Some((part.get(..cut)?, part.get(cut + 4..)?))
        }) else {
            continue;
        };
        let head = String::from_utf8_lossy(head);
        let quoted = |name: &str| {
            let (_, rest) = head.split_once(&format!("{name}=\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        match (quoted(" name"), quoted("filename")) {
            (Some(_), Some(file)) => files.push((file, content.len())),
            (Some(name), None) => {
                let value = String::from_utf8_lossy(content).into_owned();
                php::register(parameters, &name, Value::String(value));
            }
            _ => {}
        }
    }
}
