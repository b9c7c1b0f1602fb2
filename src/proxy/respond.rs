//! Step 9: the answer's body streams, and the completion record closes with its last byte.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;

use super::answer::{AnswerBody, Streaming};
use super::exchange::{Arrival, Exchange};
use super::observe::Observed;
use super::read::Unread;
use super::{Connection, Core};
use crate::audit::{EventId, EventKind, Origin, RejectionRecord};
use crate::model::{
    AnswerShape, ApiVersion, Call, CredentialKind, CredentialRead, Decision, Fault, Outcome,
    Reason, Verbs,
};
use crate::snapshot::{Gate, Limits};
use crate::vendor::{NativeAnswer, Refusal, Splicer};

/// The answer to an app.
pub(super) type Answer = Response<AnswerBody>;

const DECISION: HeaderName = HeaderName::from_static("grantgate-decision");
const REASON: HeaderName = HeaderName::from_static("grantgate-reason");

/// What a refusal of this call would say: kept apart from the request, which has gone on by then.
#[derive(Debug)]
pub(super) struct Refusing<'d> {
    fault: Option<Fault>,
    missing: &'d [Cow<'d, str>],
    /// Why the first refused member of a batch is refused.
    member: Option<(Reason, &'d [Cow<'d, str>])>,
    version: ApiVersion,
    answer: AnswerShape,
    offered: Verbs,
    credential: Option<CredentialKind>,
}

impl<'d> Refusing<'d> {
    pub(super) fn new(call: &Call<'_, '_>, decision: &'d Decision<'d>) -> Self {
        Self {
            fault: call.fault,
            missing: &decision.verdict.missing,
            member: decision
                .children
                .iter()
                .find(|child| child.holds_back())
                .map(|child| (child.reason, child.missing.as_slice())),
            version: call.operation.version(),
            answer: call.answer,
            offered: call.offered,
            credential: match &call.credential {
                CredentialRead::One(credential) => Some(credential.kind),
                CredentialRead::Missing | CredentialRead::Unclear => None,
            },
        }
    }
}

/// Passes the vendor's answer on, or answers in its place where it gave none that can be.
pub(super) fn pass(
    core: &Core,
    gate: &Gate,
    limits: &Limits,
    refusing: &Refusing<'_>,
    observed: Observed,
    splicer: Option<Box<Splicer>>,
) -> Answer {
    let Observed {
        mut exchange,
        lesson,
        result,
    } = observed;
    let (mut head, body, lease) = match result {
        Ok(answer) => answer,
        Err(reason) => {
            exchange.reason = Some(reason);
            return refuse(gate, refusing, reason, exchange);
        }
    };
    if let Some(metrics) = core.gates.get(usize::from(gate.index)) {
        let (added, upstream) = exchange.times();
        metrics.added.observe(added.as_secs_f64());
        metrics
            .upstream
            .observe(upstream.unwrap_or_default().as_secs_f64());
    }
    let needed = splicer.as_ref().is_some_and(|splicer| splicer.is_needed());
    let readable = || is_whole_json(&head) && !body.is_end_stream();
    if needed && head.status.is_success() && !readable() {
        exchange.reason = Some(Reason::UpstreamInvalid);
        exchange.ends(Outcome::Aborted);
        return refuse(gate, refusing, Reason::UpstreamInvalid, exchange);
    }
    exchange.responding(head.status.as_u16(), Origin::Vendor);
    head.headers.insert(DECISION, event_value(&exchange.event));
    if head
        .headers
        .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    {
        let exposed = HeaderValue::from_static("grantgate-decision");
        head.headers
            .append(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    // The version between gate and app is the server's to say.
    head.version = http::Version::HTTP_11;
    let splicer = splicer.filter(|_| is_whole_json(&head));
    if splicer.is_some() {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let body = Streaming::new(body, lease, exchange, limits, splicer, lesson);
    Response::from_parts(head, AnswerBody::Vendor(Box::new(body)))
}

/// True for an answer that can be put together anew: anything else passes as it is.
fn is_whole_json(head: &http::response::Parts) -> bool {
    let starts = |value: &HeaderValue| value.as_bytes().starts_with(b"application/json");
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    head.status == StatusCode::OK
        && head.headers.get(header::CONTENT_TYPE).is_some_and(starts)
        && head.headers.get(header::CONTENT_ENCODING).is_none_or(plain)
}

/// Refuses a call in the vendor's own words.
pub(super) fn refuse(
    gate: &Gate,
    refusing: &Refusing<'_>,
    reason: Reason,
    exchange: Box<Exchange>,
) -> Answer {
    // A batch that is refused whole is refused for what its first member lacks.
    let (native, scopes) = match (reason, refusing.member) {
        (Reason::BatchMemberDenied, Some((reason, missing))) => (reason, missing),
        (Reason::ScopeMissing, _) => (reason, refusing.missing),
        _ => (reason, [].as_slice()),
    };
    let refusal = Refusal {
        reason: native,
        fault: refusing.fault,
        missing: scopes,
        version: refusing.version,
        answer: refusing.answer,
        credential: refusing.credential,
    };
    let mut response = answer(gate, gate.vendor.refuse(&refusal), reason, exchange);
    let status = response.status();
    let headers = response.headers_mut();
    if !scopes.is_empty() {
        // RFC 6750 section 3: the scopes are separated by blanks.
        let challenge = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{}\"",
            scopes.join(" ")
        );
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(offered) = HeaderValue::try_from(refusing.offered.to_string())
    {
        headers.insert(header::ALLOW, offered);
    }
    if matches!(reason, Reason::AmbiguousFraming | Reason::UpgradeRefused) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers a call in the vendor's place.
pub(super) fn answer(
    gate: &Gate,
    answer: NativeAnswer,
    reason: Reason,
    mut exchange: Box<Exchange>,
) -> Answer {
    exchange.ends(Outcome::NotForwarded);
    exchange.responding(answer.status, Origin::Gate);
    let event = exchange.event;
    let body = AnswerBody::Gate(Some(Bytes::from(answer.body)), Some(exchange));
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(answer.content_type),
    );
    headers.insert(DECISION, event_value(&event));
    headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
    expose(gate, headers);
    response
}

/// How long a shed call waits for its answer: a client that asks again at once must not take the processor from those
/// that are served.
const SHED_PAUSE: Duration = Duration::from_millis(50);

/// Answers a call for which there is no room. It has no record of its own: a flood would be one.
pub(super) async fn shed(gate: &Gate, call: &Call<'_, '_>, reason: Reason) -> Answer {
    Box::pin(tokio::time::sleep(SHED_PAUSE)).await;
    let refusal = Refusal {
        reason,
        fault: None,
        missing: &[],
        version: call.operation.version(),
        answer: call.answer,
        credential: None,
    };
    let mut response = without_exchange(gate, &refusal);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Answers a call that a fault of the program has ended; its completion record is written already.
pub(super) fn fault(gate: &Gate) -> Answer {
    let refusal = Refusal {
        reason: Reason::Internal,
        fault: None,
        missing: &[],
        version: ApiVersion::Sole,
        answer: AnswerShape::Usual,
        credential: None,
    };
    without_exchange(gate, &refusal)
}

/// A refusal that no completion record follows.
fn without_exchange(gate: &Gate, refusal: &Refusal<'_>) -> Answer {
    let NativeAnswer {
        status,
        content_type,
        body,
    } = gate.vendor.refuse(refusal);
    let mut response = Response::new(AnswerBody::Gate(Some(Bytes::from(body)), None));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(REASON, HeaderValue::from_static(refusal.reason.as_str()));
    expose(gate, headers);
    response
}

/// Answers a request whose body did not arrive: it was never a call, so the record is a rejection.
pub(super) fn unread(
    core: &Core,
    gate: &Gate,
    connection: &Connection,
    arrival: Arrival,
    unread: Unread,
) -> Answer {
    let (status, detail) = match unread {
        Unread::Broken => (
            StatusCode::BAD_REQUEST,
            "the body's framing is broken, or the app went away within it",
        ),
        Unread::Timeout => (
            StatusCode::REQUEST_TIMEOUT,
            "the body did not go on in time",
        ),
    };
    let fault = Fault {
        reason: Reason::AmbiguousFraming,
        detail,
    };
    turned_away(core, gate, connection, arrival, fault, Some(status))
}

/// Answers a request whose head is larger than the limit: the parser, which counts what it has when it looks, lets some pass.
pub(super) fn head_too_large(
    core: &Core,
    gate: &Gate,
    connection: &Connection,
    arrival: Arrival,
) -> Answer {
    let fault = Fault {
        reason: Reason::AmbiguousFraming,
        detail: "the head is larger than `limits.head_kib`",
    };
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    turned_away(core, gate, connection, arrival, fault, Some(status))
}

/// Sends an app away that was let in under another `client_ca` than the gate's: it may come again (RFC 9110 section 15.5.20).
pub(super) fn misdirected(
    core: &Core,
    gate: &Gate,
    connection: &Connection,
    arrival: Arrival,
) -> Answer {
    let fault = Fault {
        reason: Reason::HostUnknown,
        detail: "the connection was let in under another client_ca than the one that holds now",
    };
    turned_away(core, gate, connection, arrival, fault, None)
}

/// Records, counts and answers a request that never became a call, by this status or the reason's own, and ends the
/// connection.
fn turned_away(
    core: &Core,
    gate: &Gate,
    connection: &Connection,
    arrival: Arrival,
    fault: Fault,
    status: Option<StatusCode>,
) -> Answer {
    reject(core, gate, connection, arrival, fault.reason, fault.detail);
    let refusal = Refusal {
        reason: fault.reason,
        fault: Some(fault),
        missing: &[],
        version: ApiVersion::Sole,
        answer: AnswerShape::Usual,
        credential: None,
    };
    let mut response = without_exchange(gate, &refusal);
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Records and counts a request that was refused below the dialect.
pub(super) fn reject(
    core: &Core,
    gate: &Gate,
    connection: &Connection,
    arrival: Arrival,
    reason: Reason,
    detail: &str,
) {
    core.metrics.rejected(&gate.name, reason);
    let measured = core.gates.get(usize::from(gate.index));
    if measured.is_some_and(|gate| !gate.rejections.note(reason)) {
        return;
    }
    let record = RejectionRecord {
        time: arrival.time,
        gate: gate.text(),
        source: &connection.peer,
        reason,
        detail,
    };
    core.outbox
        .append(EventKind::CallRejected, |out| record.write(out));
}

/// The gate is no longer part of the configuration.
pub(super) fn gone() -> Answer {
    let mut response = Response::new(AnswerBody::Gate(None, None));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Lets browser apps read a refusal, as they can read the vendor's answers.
fn expose(gate: &Gate, headers: &mut HeaderMap) {
    if let Some(origin) = gate.vendor.allow_origin() {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static(origin),
        );
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("grantgate-decision, grantgate-reason, www-authenticate"),
        );
    }
}

fn event_value(event: &EventId) -> HeaderValue {
    HeaderValue::from_bytes(event.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
