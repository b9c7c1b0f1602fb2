//! Step 2: the dialect reads the head, and the body where the head does not settle it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::Version;
use http::request::Parts;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::body::CallBody;
use super::framing;
use super::held::{Budget, Held};
use crate::model::{Call, Fault, Reason};
use crate::snapshot::{Gate, Limits};
use crate::vendor::{Head, Reader};

/// The body did not arrive: there is nothing to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Its framing is broken, or the app went away within it.
    Broken,
    /// It did not go on in time.
    Timeout,
}

const OVER_CAP: Fault = Fault {
    reason: Reason::BodyOverCap,
    detail: "the body is larger than what is inspected",
};
const NO_ROOM: Fault = Fault {
    reason: Reason::Overloaded,
    detail: "there is no room for the body now",
};

/// Reads a request into a call; the body comes back as it arrived.
pub(super) async fn read<'r, 'c>(
    gate: &'c Gate,
    limits: &Limits,
    budget: &Arc<Budget>,
    head: &'r Parts,
    body: Incoming,
) -> Result<(Call<'r, 'c>, CallBody), Unread> {
    let has_body = !body.is_end_stream();
    let by_http2 = head.version == Version::HTTP_2;
    let target = head
        .uri
        .path_and_query()
        .map_or("", http::uri::PathAndQuery::as_str);
    let about = Head {
        verb: &head.method,
        target,
        headers: &head.headers,
        has_body,
    };
    let mut reader = gate.vendor.read(about, &gate.catalogue);
    if let Some(fault) = framing::check(head, &gate.hosts) {
        reader.note(fault);
    }
    let body = if !has_body {
        CallBody::empty()
    } else if let Some(watch) = reader.watch() {
        CallBody::watched(body, watch)
    } else if reader.wants_body() {
        let room = (budget, gate.index);
        inspect(&mut reader, limits, room, body, by_http2).await?
    } else {
        CallBody::unread(body)
    };
    Ok((reader.finish(), body.by_http2(by_http2)))
}

/// Feeds the reader with the body, up to the limits.
async fn inspect(
    reader: &mut Reader<'_, '_>,
    limits: &Limits,
    (budget, gate): (&Arc<Budget>, u16),
    mut body: Incoming,
    by_http2: bool,
) -> Result<CallBody, Unread> {
    let mut held = Held::new(budget, gate);
    if body.size_hint().lower() > limits.inspected_body {
        reader.note(OVER_CAP);
        return Ok(CallBody::unread(body));
    }
    let until = Instant::now() + limits.body_total;
    let mut whole = true;
    while let Some(piece) = next_piece(&mut body, limits, until, by_http2).await? {
        let fits = held.push(&piece).await;
        if held.bytes() > limits.inspected_body {
            reader.note(OVER_CAP);
        } else if !fits {
            reader.note(NO_ROOM);
        } else {
            reader.feed(&piece);
        }
        if !reader.wants_body() {
            whole = false;
            break;
        }
    }
    let held = held.into_body().await;
    Ok(if whole { held } else { held.with_rest(body) })
}

/// The next piece of a body; trailers are passed over.
async fn next_piece(
    body: &mut Incoming,
    limits: &Limits,
    until: Instant,
    by_http2: bool,
) -> Result<Option<Bytes>, Unread> {
    loop {
        if body.is_end_stream() {
            return Ok(None);
        }
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let patience = until.min(Instant::now() + limits.body_idle);
        match timeout_at(patience, frame).await {
            Err(_) => return Err(Unread::Timeout),
            // An HTTP/2 stream that was reset without an error looks ended.
            Ok(None) if by_http2 && !body.is_end_stream() => return Err(Unread::Broken),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Unread::Broken),
            Ok(Some(Ok(frame))) => {
                // One read can hold thousands of pieces: other calls have their turn.
                tokio::task::consume_budget().await;
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}
