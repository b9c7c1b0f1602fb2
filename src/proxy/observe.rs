//! Step 8: what the vendor's answer says, before it is passed on: to the app, and to what is known of tokens.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::body::CallBody;
use super::exchange::Exchange;
use super::forward::{Forwarded, named_by_connection};
use super::lesson::{About, Lesson, Permission, Revoking};
use crate::grants::Expected;
use crate::model::{Asked, Call, Decision, Mode, Outcome, Reason, Secret, TokenId, TokenPurpose};
use crate::snapshot::{Gate, Redirects};
use crate::upstream::Lease;

/// An answer that may be passed on, or why the gate answers itself.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) exchange: Box<Exchange>,
    /// Learns from the body.
    pub(super) lesson: Option<Box<Lesson>>,
    pub(super) result: Result<(http::response::Parts, Incoming, Lease<CallBody>), Reason>,
}

/// What of a call matters for its answer. It holds no credential.
#[derive(Debug)]
pub(super) struct Watched<'c> {
    operation: Asked<'c>,
    /// The token, where the call was permitted by what is known of it.
    token: Option<TokenId>,
    /// What a request to the authorization server was about.
    expected: Option<Box<Expected>>,
    /// The token that the app asks the vendor to revoke.
    revoking: Option<Revoking>,
}

impl<'c> Watched<'c> {
    /// Keeps what matters of a call; the rest of it, its credential too, is dropped.
    pub(super) fn of(
        gate: &Gate,
        call: Call<'_, 'c>,
        token: Option<TokenId>,
        decision: &Decision<'_>,
    ) -> Self {
        let judged = matches!(
            decision.verdict.reason,
            Reason::Permitted | Reason::NoScopeNeeded | Reason::BatchMemberDenied
        );
        let expected = call.token_request.map(|request| {
            let identify = |secret: &Secret<'_>| gate.token_key.identify(secret);
            Box::new(Expected::of(&request, identify))
        });
        let revoked = expected
            .as_ref()
            .filter(|expected| expected.purpose == TokenPurpose::Revoke)
            .and_then(|expected| expected.token);
        Self {
            operation: call.operation,
            token: token.filter(|_| decision.verdict.permitted && judged),
            revoking: revoked.map(|token| Revoking::new(&gate.grants, token)),
            expected,
        }
    }
}

impl Watched<'_> {
    /// The call goes to the vendor.
    pub(super) const fn goes(&mut self) {
        if let Some(revoking) = &mut self.revoking {
            revoking.goes();
        }
    }
}

/// Looks at an answer's head: is it HTTP that an app can take, does it lead the app past the gate, does it teach something?
///
/// A token that the vendor has agreed to revoke is dead before the app hears of it.
pub(super) async fn observe(
    gate: &Gate,
    decision: &Decision<'_>,
    watched: Watched<'_>,
    forwarded: Forwarded,
) -> Observed {
    let observed = look(gate, decision, forwarded);
    if let Some(revoking) = watched.revoking {
        if may_be_revoked(&observed) {
            revoking.revoke().await;
        } else {
            revoking.dismiss();
        }
        return observed;
    }
    Observed {
        lesson: lesson(gate, watched, &observed),
        ..observed
    }
}

/// True unless the vendor has refused to revoke, or was not asked: what nobody knows is not trusted.
fn may_be_revoked(observed: &Observed) -> bool {
    match &observed.result {
        Ok((head, ..)) => head.status.is_success(),
        Err(_) => observed.exchange.may_have_arrived(),
    }
}

/// What learns from the body, if something may be learned.
fn lesson(gate: &Gate, watched: Watched<'_>, observed: &Observed) -> Option<Box<Lesson>> {
    let Ok((head, body, _)) = &observed.result else {
        return None;
    };
    let status = head.status.as_u16();
    let about = match (watched.expected, watched.token) {
        (Some(expected), _) if expected.purpose == TokenPurpose::Issue && status == 200 => {
            About::Token(expected)
        }
        (None, Some(token)) if matches!(status, 400 | 401 | 403) => {
            let call = observed.exchange.event;
            About::Call(Box::new(Permission::new(
                call,
                token,
                &watched.operation,
                status,
            )))
        }
        _ => return None,
    };
    let lesson = Lesson::new(about, gate.vendor, &gate.grants);
    (!body.is_end_stream()).then(|| Box::new(lesson))
}

fn look(gate: &Gate, decision: &Decision<'_>, forwarded: Forwarded) -> Observed {
    let Forwarded {
        mut exchange,
        result,
    } = forwarded;
    let result = result.and_then(|(mut head, body, lease)| {
        // No answer to a call is 101, and whatever is beyond 599 is no class of HTTP (RFC 9110 section 15).
        if !(200..600).contains(&head.status.as_u16()) {
            return Err(Reason::UpstreamInvalid);
        }
        end_hop(&mut head.headers)?;
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
    Observed {
        exchange,
        lesson: None,
        result,
    }
}

/// Takes out what was meant for the hop between upstream and gate. Lengths are the parser's: where both stood, it
/// went by the chunks. Of an answer without a body it has not looked at them, and the app must not be told two.
fn end_hop(headers: &mut HeaderMap) -> Result<(), Reason> {
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
    one_length(headers)
}

/// Leaves one length, as it is usually written (RFC 9110 section 8.6: digits only).
fn one_length(headers: &mut HeaderMap) -> Result<(), Reason> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    let digits = first.as_bytes();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let mut others = lengths.peekable();
    if is_number && others.peek().is_none() && (digits.len() == 1 || !digits.starts_with(b"0")) {
        return Ok(());
    }
    let length = first
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let length = length.filter(|_| is_number && others.all(|other| other == first));
    headers.insert(
        header::CONTENT_LENGTH,
        length.ok_or(Reason::UpstreamInvalid)?.into(),
    );
    Ok(())
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
