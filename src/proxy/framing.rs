//! What HTTP itself demands of a request, beyond what the parser refuses.

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Version};

use crate::model::{Fault, Reason};

const CODING: Fault = Fault {
    reason: Reason::AmbiguousFraming,
    detail: "Transfer-Encoding is anything but one `chunked`",
};
const HOST_UNCLEAR: Fault = Fault {
    reason: Reason::AmbiguousFraming,
    detail: "the request has no Host, several, or one that is none",
};
const AUTHORITY: Fault = Fault {
    reason: Reason::AmbiguousFraming,
    detail: "the target names another authority than Host",
};
const CONNECTION_NAMES: Fault = Fault {
    reason: Reason::AmbiguousFraming,
    detail: "Connection names a field that decides",
};
const TUNNEL: Fault = Fault {
    reason: Reason::UpgradeRefused,
    detail: "CONNECT and Upgrade are not forwarded",
};
const HOST_UNKNOWN: Fault = Fault {
    reason: Reason::HostUnknown,
    detail: "this gate does not answer for the Host",
};

const TARGET: Fault = Fault {
    reason: Reason::AmbiguousFraming,
    detail: "the target has no path",
};

/// How large a head is that came by HTTP/1.1, in bytes: its lines with their ends (RFC 9112 section 2.1).
pub(super) fn head_bytes(head: &Parts) -> usize {
    let target = head.uri.path_and_query();
    let target = target.map_or(0, |target| target.as_str().len());
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    head.method.as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + fields.sum::<usize>()
}

/// The first thing that is wrong with a request's framing and host, if any (RFC 9112 sections 3.2 and 6, RFC 9110
/// section 7.8).
pub fn check(head: &Parts, hosts: &[String]) -> Option<Fault> {
    transfer_coding(&head.headers)
        .or_else(|| host(head))
        .or_else(|| connection(&head.headers))
        .or_else(|| tunnel(head))
        .or_else(|| target(head))
        .or_else(|| known_host(&head.headers, hosts))
}

fn transfer_coding(headers: &HeaderMap) -> Option<Fault> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next()?;
    (codings.next().is_some() || !first.as_bytes().eq_ignore_ascii_case(b"chunked"))
        .then_some(CODING)
}

fn host(head: &Parts) -> Option<Fault> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_authority(host.as_bytes()) => host,
        (None, None) if head.version == Version::HTTP_10 => return None,
        _ => return Some(HOST_UNCLEAR),
    };
    let authority = head.uri.authority()?;
    let same = authority
        .as_str()
        .as_bytes()
        .eq_ignore_ascii_case(host.as_bytes());
    (!same && head.method != Method::CONNECT).then_some(AUTHORITY)
}

/// A host name or address with an optional port, and nothing else.
fn is_authority(host: &[u8]) -> bool {
    let allowed =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !host.is_empty() && host.iter().all(allowed) && !host.starts_with(b":")
}

/// `Connection` may name hop-by-hop fields. Naming one that was judged would have it judged and not sent.
fn connection(headers: &HeaderMap) -> Option<Fault> {
    let names = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let decides = |name: &[u8]| {
        let name = name.trim_ascii().to_ascii_lowercase();
        let overrides = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
        [
            "authorization",
            "content-type",
            "content-encoding",
            "content-length",
            "transfer-encoding",
            "host",
            "cookie",
            "x-api-version",
            "x-author-id",
            "x-region",
        ]
        .into_iter()
        .any(|field| name == field.as_bytes())
            || overrides(b"method")
    };
    names.into_iter().any(decides).then_some(CONNECTION_NAMES)
}

/// A target with a query only would be sent on with a path that was not judged.
fn target(head: &Parts) -> Option<Fault> {
    let target = head.uri.path_and_query()?.as_str();
    (!target.starts_with('/') && target != "*").then_some(TARGET)
}

fn tunnel(head: &Parts) -> Option<Fault> {
    let upgrades = head
        .headers
        .get_all(UPGRADE)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c"));
    (upgrades || head.method == Method::CONNECT).then_some(TUNNEL)
}

fn known_host(headers: &HeaderMap, hosts: &[String]) -> Option<Fault> {
    if hosts.is_empty() {
        return None;
    }
    let host = headers
        .get(HOST)
        .map(http::HeaderValue::as_bytes)
        .unwrap_or_default();
    let bare = match host.iter().rposition(|b| *b == b':') {
        Some(colon) if !host.ends_with(b"]") => host.get(..colon).unwrap_or(host),
        _ => host,
    };
    let known = hosts.iter().any(|known| {
        host.eq_ignore_ascii_case(known.as_bytes()) || bare.eq_ignore_ascii_case(known.as_bytes())
    });
    (!known).then_some(HOST_UNKNOWN)
}
