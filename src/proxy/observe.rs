//! Step 8: what the vendor's answer says, before it is passed on.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;

use super::body::CallBody;
use super::exchange::Exchange;
use super::forward::{Forwarded, named_by_connection};
use crate::model::{Decision, Mode, Outcome, Reason};
use crate::snapshot::{Gate, Redirects};
use crate::upstream::Lease;

/// An answer that may be passed on, or why the gate answers itself.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) exchange: Exchange,
    pub(super) result: Result<(http::response::Parts, Incoming, Lease<CallBody>), Reason>,
}

/// Looks at an answer's head: is it HTTP that an app can take, does it lead the app past the gate?
pub(super) fn observe(gate: &Gate, decision: &Decision<'_>, forwarded: Forwarded) -> Observed {
    let Forwarded {
        mut exchange,
        result,
    } = forwarded;
    let result = result.and_then(|(mut head, body, lease)| {
        // No answer to a call is 101, and whatever is beyond 599 is no class of HTTP (RFC 9110 section 15).
        if !(200..600).contains(&head.status.as_u16()) {
            return Err(Reason::UpstreamInvalid);
        }
        end_hop(&mut head.headers);
        let authority = gate.destination(exchange.route).authority.as_bytes();
        if exchange.leads_away {
            return Ok((head, body, lease));
        }
        redirect(
            gate,
            authority,
            decision.verdict.mode,
            head.status,
            &mut head.headers,
        )?;
        Ok((head, body, lease))
    });
    if result.is_err() {
        exchange.ends(Outcome::Aborted);
    }
    Observed { exchange, result }
}

/// Takes out what was meant for the hop between upstream and gate. Lengths are the parser's: where both stood, it
/// went by the chunks.
fn end_hop(headers: &mut HeaderMap) {
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let named = named_by_connection(headers);
    let ends = |name: &HeaderName| match name.as_str() {
        "connection" | "transfer-encoding" | "trailer" | "upgrade" | "te" | "keep-alive" => true,
        // Only the gate speaks of its decisions.
        "grantgate-decision" | "grantgate-reason" => true,
        "content-length" => chunked,
        name => name.starts_with("proxy-"),
    };
    let ending: Vec<HeaderName> = headers.keys().filter(|name| ends(name)).cloned().collect();
    for name in ending.iter().chain(&named) {
        headers.remove(name);
    }
}

/// A redirect within the portal becomes a path, so that the app stays with the gate; one that leads elsewhere is
/// refused where the gate enforces, since an SDK would follow it with the token.
fn redirect(
    gate: &Gate,
    authority: &[u8],
    mode: Mode,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Result<(), Reason> {
    if !status.is_redirection() {
        return Ok(());
    }
    let mut locations = headers.get_all(header::LOCATION).iter();
    let Some(location) = locations.next() else {
        return Ok(());
    };
    let place = if locations.next().is_some() {
        Place::Elsewhere
    } else {
        place(authority, location.as_bytes())
    };
    match place {
        Place::Here(None) => Ok(()),
        Place::Here(Some(path)) => {
            headers.insert(header::LOCATION, path);
            Ok(())
        }
        Place::Elsewhere if mode != Mode::Enforce || gate.redirects == Redirects::Pass => Ok(()),
        Place::Elsewhere => Err(Reason::RedirectRefused),
    }
}

enum Place {
    /// On the upstream itself; with the path to write instead, if it named the authority.
    Here(Option<HeaderValue>),
    Elsewhere,
}

fn place(authority: &[u8], location: &[u8]) -> Place {
    // Clients read `\` as `/` and skip blanks and control bytes (URL standard).
    if !location.iter().all(|b| b.is_ascii_graphic() && *b != b'\\') || location.starts_with(b"//")
    {
        return Place::Elsewhere;
    }
    let lower = location.to_ascii_lowercase();
    let Some(scheme) = [b"https://".as_slice(), b"http://"]
        .into_iter()
        .find(|scheme| lower.starts_with(scheme))
    else {
        let relative = location
            .iter()
            .take_while(|b| !matches!(b, b'/' | b'?' | b'#'))
            .all(|b| *b != b':');
        return if relative {
            Place::Here(None)
        } else {
            Place::Elsewhere
        };
    };
    let rest = location.get(scheme.len()..).unwrap_or_default();
    let end = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (named, path) = rest.split_at(end);
    if !same_authority(named, authority) {
        return Place::Elsewhere;
    }
    let path = if path.starts_with(b"/") {
        path.to_vec()
    } else {
        [b"/", path].concat()
    };
    // `https://portal//x` would become a path that names another authority.
    if path.starts_with(b"//") {
        return Place::Elsewhere;
    }
    HeaderValue::from_bytes(&path).map_or(Place::Elsewhere, |path| Place::Here(Some(path)))
}

/// Compares authorities without regard to case and to the usual ports.
fn same_authority(one: &[u8], other: &[u8]) -> bool {
    let bare = |authority: &[u8]| {
        let lower = authority.to_ascii_lowercase();
        let cut = lower
            .strip_suffix(b":443")
            .or_else(|| lower.strip_suffix(b":80"))
            .map(<[u8]>::to_vec);
        cut.unwrap_or(lower)
    };
    bare(one) == bare(other)
}
