//! HTTP/2 from apps (RFC 9113): the same calls, several on one connection, and what keeps a peer from flooding it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{HeaderValue, Request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::{AnswerBody, BrokenOff};
use super::exchange::Arrival;
use super::fault::guarded;
use super::frames::Frames;
use super::{Connection, Core, respond};
use crate::model::Reason;
use crate::snapshot::Limits;
use crate::tls::Fair;

/// Calls that one connection may have under way.
const STREAMS: u32 = 128;
/// What a peer may send of one body, and of all, before somebody reads it, in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Streams that a peer has opened and reset before anyone looked (CVE-2023-44487), and that we had to reset
/// (CVE-2025-8671), before the connection is closed.
const RESETS: usize = 20;
const OWN_RESETS: usize = 128;
/// Calls that a peer may give up, beyond those that it let end.
const GIVEN_UP: usize = 100;
/// What a peer may send in a second that carries no call: settings, pings and their like, in bytes.
const CHATTER: u64 = 16 * 1024;
/// How long a peer without calls may take to go once it was told to.
const GOODBYE: Duration = Duration::from_secs(5);
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Serves a connection until it ends, or until `stop` is ready and its calls have their answers.
///
/// # Errors
/// What the peer did that is not HTTP/2.
pub(super) async fn serve<S>(
    core: &Arc<Core>,
    connection: &Arc<Connection>,
    limits: &Limits,
    stream: S,
    stop: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let (for_calls, for_service) = (Arc::clone(core), Arc::clone(connection));
    let (counted, metered) = (Arc::clone(&activity), Arc::clone(&activity));
    let service = service_fn(move |request| {
        let call = CallUnderWay::new(&counted);
        let answer = guarded(&for_calls, &for_service, as_http1(request));
        async move {
            let answer = answer.await?;
            Ok::<_, Infallible>(answer.map(|body| Watched::new(body, call)))
        }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(OWN_RESETS)
        .serve_connection(
            TokioIo::new(Fair::new(Metered::new(stream, metered))),
            service,
        );
    let mut served = pin!(served);
    let mut stop = pin!(stop);
    let mut look = tokio::time::interval(LOOK);
    let mut told_to_go: Option<Instant> = None;
    loop {
        tokio::select! {
            ended = served.as_mut() => return ended,
            () = &mut stop, if told_to_go.is_none() => {
                told_to_go = Some(Instant::now());
                served.as_mut().graceful_shutdown();
            }
            _ = look.tick() => match (activity.verdict(limits), told_to_go) {
                (Verdict::Abuse(why), _) => {
                    tracing::debug!(why, peer = connection.peer, "a connection is closed");
                    if let Some(gate) = core.snapshots.load().gate(connection.gate) {
                        let reason = Reason::AmbiguousFraming;
                        respond::reject(core, gate, connection, Arrival::now(), reason, why);
                    }
                    return Ok(());
                }
                // A peer that does not answer GOAWAY is closed, once what is left of an answer has had its time.
                (_, Some(told)) if told.elapsed() > GOODBYE && activity.rests(GOODBYE) => {
                    return Ok(());
                }
                (Verdict::Idle, None) => {
                    told_to_go = Some(Instant::now());
                    served.as_mut().graceful_shutdown();
                }
                (Verdict::GoesOn | Verdict::Idle, _) => {}
            }
        }
    }
}

/// The request as HTTP/1.1 would have brought it: `:authority` as `Host`, and one `Cookie` (RFC 9113 sections 8.2.3 and
/// 8.3.1). Whether the two name the same host is looked at with the rest of the framing.
fn as_http1(mut request: Request<Incoming>) -> Request<Incoming> {
    let authority = request.uri().authority();
    let host = authority.and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    let headers = request.headers_mut();
    // HTTP/1.1 has none around a value; sent on, they would be gone.
    for value in headers.values_mut() {
        let trimmed = value.as_bytes().trim_ascii();
        if trimmed.len() < value.len() {
            let sensitive = value.is_sensitive();
            if let Ok(mut plain) = HeaderValue::from_bytes(trimmed) {
                plain.set_sensitive(sensitive);
                *value = plain;
            }
        }
    }
    if let Some(host) = host
        && !headers.contains_key(HOST)
    {
        headers.insert(HOST, host);
    }
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> = headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice())) {
            headers.insert(COOKIE, cookie);
        }
    }
    request
}

/// What a connection is doing.
#[derive(Debug, Default)]
struct Activity {
    calls: AtomicUsize,
    ended: AtomicUsize,
    given_up: AtomicUsize,
    /// Since when a piece waits for the peer to take it, of each answer of which one does, in the order in which they began to.
    offered: Mutex<BTreeMap<u64, Instant>>,
    /// How many pieces have waited.
    offers: AtomicU64,
    bytes: AtomicU64,
    /// Those of them that carry no call.
    chatter: AtomicU64,
    /// Bytes that went to the peer: what it sends to have more of them is no chatter.
    written: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    /// A call began or ended, or a piece of an answer was taken.
    progress: Instant,
    looked: Instant,
    bytes: u64,
    chatter: u64,
    written: u64,
}

impl Default for Last {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            progress: now,
            looked: now,
            bytes: 0,
            chatter: 0,
            written: 0,
        }
    }
}

enum Verdict {
    GoesOn,
    Idle,
    Abuse(&'static str),
}

impl Activity {
    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) {
        self.last().progress = Instant::now();
    }

    /// True if there has been no call for so long.
    fn rests(&self, time: Duration) -> bool {
        self.calls.load(Ordering::Relaxed) == 0 && self.last().progress.elapsed() > time
    }

    fn offered(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the peer has let the piece wait that waits longest: that it takes others is no excuse.
    fn longest_offer(&self) -> Duration {
        let first = self.offered().values().next().copied();
        first.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn verdict(&self, limits: &Limits) -> Verdict {
        let now = Instant::now();
        let mut last = self.last();
        let since = now.duration_since(last.looked).as_secs_f64();
        let bytes = self.bytes.load(Ordering::Relaxed);
        let read = bytes - std::mem::replace(&mut last.bytes, bytes);
        let chatter = self.chatter.load(Ordering::Relaxed);
        let said = chatter - std::mem::replace(&mut last.chatter, chatter);
        let written = self.written.load(Ordering::Relaxed);
        let taken = written - std::mem::replace(&mut last.written, written);
        // Each piece of an answer may be followed by two updates of windows, which are shorter.
        let said = said.saturating_sub(taken / 2);
        last.looked = now;
        let still = now.duration_since(last.progress);
        drop(last);
        let idle = self.calls.load(Ordering::Relaxed) == 0;
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a rate")]
        let too_much = |bytes: u64| bytes as f64 > CHATTER as f64 * since.max(LOOK.as_secs_f64());
        if self.given_up.load(Ordering::Relaxed) > GIVEN_UP + self.ended.load(Ordering::Relaxed) {
            Verdict::Abuse("the peer gives up one call after the other")
        } else if self.longest_offer() > limits.answer_idle {
            Verdict::Abuse("the peer takes no byte of its answers")
        } else if idle && too_much(read) && still > LOOK {
            Verdict::Abuse("the peer talks without calling")
        } else if too_much(said) {
            Verdict::Abuse("the peer sends settings, pings and their like without end")
        } else if idle && still > limits.head_timeout {
            Verdict::Idle
        } else {
            Verdict::GoesOn
        }
    }
}

/// A call of the connection, until its answer has ended or the peer has given it up.
struct CallUnderWay {
    activity: Arc<Activity>,
    ended: bool,
    /// The piece that waits for the peer.
    offered: Option<u64>,
}

impl CallUnderWay {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.calls.fetch_add(1, Ordering::Relaxed);
        activity.progress();
        Self {
            activity: Arc::clone(activity),
            ended: false,
            offered: None,
        }
    }

    /// A piece waits for the peer, or has been taken.
    fn offers(&mut self, offered: bool) {
        if let Some(taken) = self.offered.take() {
            self.activity.offered().remove(&taken);
        }
        if offered {
            let number = self.activity.offers.fetch_add(1, Ordering::Relaxed);
            self.activity.offered().insert(number, Instant::now());
            self.offered = Some(number);
        } else {
            self.activity.progress();
        }
    }
}

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        self.offers(false);
        let count = if self.ended {
            &self.activity.ended
        } else {
            &self.activity.given_up
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.activity.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, of which it shows whether the peer takes it.
struct Watched {
    body: AnswerBody,
    call: CallUnderWay,
}

impl Watched {
    fn new(body: AnswerBody, mut call: CallUnderWay) -> Self {
        call.ended = body.is_end_stream();
        Self { body, call }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.call.offers(false);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.call.ended = !matches!(&frame, Some(Ok(_))) || self.body.is_end_stream();
        self.call.offers(frame.is_some());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that counts what the peer sends beside its calls.
struct Metered<S> {
    stream: S,
    frames: Frames,
    activity: Arc<Activity>,
}

impl<S> Metered<S> {
    const fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            frames: Frames::new(),
            activity,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        let come = buf.filled().get(before..).unwrap_or_default();
        let bytes = u64::try_from(come.len()).unwrap_or_default();
        self.activity.bytes.fetch_add(bytes, Ordering::Relaxed);
        let chatter = self.frames.chatter(come);
        if chatter > 0 {
            self.activity.chatter.fetch_add(chatter, Ordering::Relaxed);
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        let bytes = u64::try_from(written).unwrap_or_default();
        self.activity.written.fetch_add(bytes, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
