//! A refusal may come while the request's body is still on its way. An app that sends on, and finds the connection closed,
//! may never see the answer: so the rest is taken in and thrown away, within limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use http_body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::body::CallBody;
use crate::snapshot::Limits;

/// The most bytes that are thrown away; what is larger than any upload that the vendors take ends with the connection.
const MOST: u64 = 128 * 1024 * 1024;

/// How long an app may go on sending what was refused, and how long it may pause.
const LONGEST: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(5);

/// Takes the rest of a refused request's body in, beside the answer.
pub(super) fn linger(mut unsent: CallBody, limits: &Limits) {
    if unsent.is_end_stream() || !unsent.still_comes() {
        return;
    }
    // Short beside the time that calls under way have at the end.
    let (until, idle) = (Instant::now() + LONGEST, limits.body_idle.min(IDLE));
    tokio::spawn(async move {
        let mut taken: u64 = 0;
        while taken < MOST {
            let frame = poll_fn(|cx| Pin::new(&mut unsent).poll_frame(cx));
            match timeout_at(until.min(Instant::now() + idle), frame).await {
                Ok(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
                    taken += u64::try_from(bytes).unwrap_or_default();
                }
                _ => return,
            }
        }
    });
}
