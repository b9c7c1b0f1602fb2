//! The body of an answer on its way to the app.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::CallBody;
use super::exchange::Exchange;
use super::lesson::Lesson;
use crate::model::Outcome;
use crate::snapshot::Limits;
use crate::tls::Turn;
use crate::upstream::Lease;
use crate::vendor::Splicer;

/// Pieces of a body that may follow one another before other calls have their turn.
pub(super) const IN_A_ROW: u32 = 16;

/// The body of an answer. However it ends, the call's completion record follows.
#[derive(Debug)]
pub enum AnswerBody {
    /// The vendor's, as it comes: small, for it is moved from hand to hand.
    Vendor(Box<Streaming>),
    /// The gate's own.
    #[expect(private_interfaces, reason = "the exchange is the proxy's own")]
    Gate(Option<Bytes>, Option<Box<Exchange>>),
}

/// A vendor's answer on its way to the app.
#[derive(Debug)]
pub struct Streaming {
    body: Incoming,
    lease: Option<Lease<CallBody>>,
    exchange: Option<Box<Exchange>>,
    /// Between two pieces.
    patience: Duration,
    /// When the answer is broken off, idle or not.
    until: Instant,
    /// A piece has gone to the app: most answers are one.
    begun: bool,
    /// Pieces of it in a row.
    turn: Turn,
    timer: Option<Pin<Box<Sleep>>>,
    broken_off: Option<BrokenOff>,
    /// The next poll lets what came before be flushed.
    put_off: bool,
    /// Makes the answer to a divided batch whole again.
    splicer: Option<Box<Splicer>>,
    /// Learns from the answer.
    lesson: Option<Box<Lesson>>,
    /// The body has ended; what it teaches is being learned.
    learning: bool,
}

/// The answer broke off: the connection to the app ends without the body's end, so that the app sees it.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    /// The upstream broke off.
    #[error("the upstream's answer broke off")]
    Upstream(#[source] hyper::Error),
    /// It did not go on, or did not end, in time.
    #[error("the answer did not go on or end in time")]
    Timeout,
    /// The answer to a divided batch cannot be put together.
    #[error("the answer to a divided batch cannot be put together")]
    Unspliced,
}

impl Streaming {
    pub(super) fn new(
        body: Incoming,
        lease: Lease<CallBody>,
        exchange: Box<Exchange>,
        limits: &Limits,
        splicer: Option<Box<Splicer>>,
        lesson: Option<Box<Lesson>>,
    ) -> Self {
        Self {
            body,
            lease: Some(lease),
            patience: limits.answer_idle,
            until: Instant::from_std(exchange.sent()) + limits.answer_total,
            begun: false,
            turn: Turn::of(IN_A_ROW),
            exchange: Some(exchange),
            timer: None,
            broken_off: None,
            put_off: false,
            splicer,
            lesson,
            learning: false,
        }
    }

    /// The next piece as it goes to the app; the end of the body brings what was still held.
    fn spliced(&mut self, piece: Bytes) -> Bytes {
        let ends = self.body.is_end_stream();
        let Some(splicer) = &mut self.splicer else {
            return piece;
        };
        let piece = splicer.feed(piece);
        if !ends {
            return piece;
        }
        let last = splicer.finish();
        if last.is_empty() {
            piece
        } else {
            Bytes::from([piece, last].concat())
        }
    }

    /// True for the answer to a divided batch that must not reach the app.
    fn is_unspliced(&self) -> bool {
        let splicer = self.splicer.as_ref();
        splicer.is_some_and(|splicer| splicer.has_failed())
    }

    /// Ends the answer before its end, so that the app sees it.
    fn break_off(
        &mut self,
        why: BrokenOff,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.end(Outcome::Aborted);
        // What came before is flushed while this task is put off once.
        self.broken_off = Some(why);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The upstream is too slow, or the app: the app gets what was held.
    fn time_out(&mut self) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.end(Outcome::Timeout);
        let held = self.lesson.take().and_then(|mut lesson| lesson.release());
        let Some(held) = held else {
            return Poll::Ready(Some(Err(BrokenOff::Timeout)));
        };
        self.broken_off = Some(BrokenOff::Timeout);
        self.put_off = true;
        Poll::Ready(Some(Ok(Frame::data(held))))
    }

    /// The body is whole: what it teaches is learned before its last piece goes.
    fn learn(&mut self) {
        self.learning = true;
        let objection = self.lesson.as_mut().and_then(|lesson| lesson.begin());
        if let (Some(exchange), Some(objection)) = (&mut self.exchange, objection) {
            exchange.objection = Some(objection);
        }
    }

    fn poll_lesson(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let last = match &mut self.lesson {
            Some(lesson) => std::task::ready!(lesson.poll(cx)),
            None => None,
        };
        self.lesson = None;
        let last = last.filter(|last| !last.is_empty());
        if let Some(last) = &last {
            self.count(last);
        }
        self.end(Outcome::Ok);
        Poll::Ready(last.map(|last| Ok(Frame::data(last))))
    }

    /// Counts what goes to the app.
    fn count(&mut self, piece: &Bytes) {
        if let Some(exchange) = &mut self.exchange {
            exchange.bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        }
    }

    /// True if nothing more will come.
    fn has_ended(&self) -> bool {
        self.body.is_end_stream() && self.lesson.is_none()
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.ends(outcome);
        }
        if let Some(lease) = self.lease.take()
            && outcome == Outcome::Ok
        {
            lease.give_back();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if std::mem::take(&mut self.put_off) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(error) = self.broken_off.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let may_be_late = self.begun && self.exchange.is_some() && !self.learning;
        if may_be_late && Instant::now() >= self.until {
            return self.time_out();
        }
        // The body waits for its connection, which is driven here and wakes this task itself.
        let asleep = &mut Context::from_waker(Waker::noop());
        let mut driven = false;
        loop {
            if self.learning {
                return self.poll_lesson(cx);
            }
            // One read can hold thousands of pieces: other calls have their turn, of whatever gate.
            ready!(self.turn.poll(cx));
            match Pin::new(&mut self.body).poll_frame(asleep) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer = None;
                    self.begun = true;
                    self.turn.take(1);
                    // Trailers are dropped, as those of requests are.
                    let Ok(piece) = frame.into_data() else {
                        continue;
                    };
                    let piece = self.spliced(piece);
                    if self.is_unspliced() {
                        return self.break_off(BrokenOff::Unspliced, cx);
                    }
                    let piece = match &mut self.lesson {
                        None => piece,
                        Some(lesson) => {
                            let before = lesson.hold(piece).unwrap_or_default();
                            if self.body.is_end_stream() {
                                self.learn();
                            }
                            if before.is_empty() {
                                continue;
                            }
                            before
                        }
                    };
                    self.count(&piece);
                    if self.lesson.is_none() && self.body.is_end_stream() {
                        self.end(Outcome::Ok);
                    } else if piece.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Poll::Ready(None) if self.lesson.is_some() => self.learn(),
                Poll::Ready(None) => {
                    let last = self.splicer.as_mut().map(|splicer| splicer.finish());
                    if self.is_unspliced() {
                        return self.break_off(BrokenOff::Unspliced, cx);
                    }
                    if let Some(last) = last.filter(|last| !last.is_empty()) {
                        self.count(&last);
                        return Poll::Ready(Some(Ok(Frame::data(last))));
                    }
                    self.end(Outcome::Ok);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.end(Outcome::Truncated);
                    // What came before is flushed while this task is put off once: the app gets all that there was.
                    let held = self.lesson.take().and_then(|mut lesson| lesson.release());
                    self.broken_off = Some(BrokenOff::Upstream(error));
                    if let Some(held) = held {
                        self.put_off = true;
                        return Poll::Ready(Some(Ok(Frame::data(held))));
                    }
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending if !driven => {
                    driven = true;
                    if let Some(lease) = &mut self.lease {
                        lease.drive(cx);
                    }
                }
                Poll::Pending => {
                    self.turn.begin_again();
                    let now = Instant::now();
                    let (patience, until) = (self.patience, self.until);
                    let timer = self
                        .timer
                        .get_or_insert_with(|| Box::pin(sleep_until(until.min(now + patience))));
                    // Under a flood of bytes without a piece the timer itself gets no turn.
                    if now < timer.deadline() && timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    return self.time_out();
                }
            }
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // An answer without a body is never polled.
        if self.has_ended() {
            self.end(Outcome::Ok);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Vendor(streaming) => streaming.poll(cx),
            Self::Gate(text, exchange) => {
                let text = text.take();
                if let (Some(text), Some(mut exchange)) = (&text, exchange.take()) {
                    exchange.bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
                }
                Poll::Ready(text.map(|text| Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Vendor(streaming) => streaming.has_ended(),
            Self::Gate(text, _) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // A spliced answer has another length than the vendor's.
            Self::Vendor(streaming) if streaming.splicer.is_some() => SizeHint::default(),
            Self::Vendor(streaming) => streaming.body.size_hint(),
            Self::Gate(text, _) => SizeHint::with_exact(
                text.as_ref()
                    .map_or(0, |text| u64::try_from(text.len()).unwrap_or(0)),
            ),
        }
    }
}
