//! Waiting for the head of an answer: the upstream's time begins once it has the whole request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::snapshot::Limits;

/// How far a body has come that streams from the app to the upstream, or from a file in which it waited.
#[derive(Debug)]
pub(super) struct Upload {
    begun: Instant,
    /// When the last piece went on, in milliseconds since `begun`, and whose turn it was since.
    state: AtomicU64,
}

/// Whom an upload waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The upstream takes no piece.
    Upstream = 0,
    /// The app sends none.
    App = 1,
    /// Nobody: it has ended.
    Over = 2,
}

impl Upload {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            state: AtomicU64::new(0),
        }
    }

    /// A piece goes on.
    pub(super) fn moved(&self) {
        self.set(Turn::Upstream, self.now());
    }

    /// The app is asked for a piece and has none.
    pub(super) fn asked(&self) {
        let (turn, at) = self.get();
        // The upstream may have taken its time before.
        let since = if turn == Turn::App { at } else { self.now() };
        self.set(Turn::App, since);
    }

    /// There is no more.
    pub(super) fn over(&self) {
        if self.get().0 != Turn::Over {
            self.set(Turn::Over, self.now());
        }
    }

    /// Until when is to be waited, and for whom.
    fn deadline(&self, first_byte: Duration, body_idle: Duration) -> (Instant, Late) {
        let (turn, at) = self.get();
        let at = self.begun + Duration::from_millis(at);
        match turn {
            Turn::App => (at + body_idle, Late::App),
            Turn::Upstream | Turn::Over => (at + first_byte, Late::Upstream),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }

    fn set(&self, turn: Turn, at: u64) {
        let turn = match turn {
            Turn::Upstream => 0,
            Turn::App => 1,
            Turn::Over => 2,
        };
        self.state.store(at << 2 | turn, Ordering::Relaxed);
    }

    fn get(&self) -> (Turn, u64) {
        let state = self.state.load(Ordering::Relaxed);
        let turn = match state & 3 {
            0 => Turn::Upstream,
            1 => Turn::App,
            _ => Turn::Over,
        };
        (turn, state >> 2)
    }
}

/// Who was too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The upstream did not answer, or took no more of the request; or all of it took too long, whoever was slow.
    Upstream,
    /// The app did not go on with the body.
    App,
}

pin_project_lite::pin_project! {
    /// A request that was sent, until the head of its answer is there or somebody is late.
    pub(super) struct Waiting<F> {
        #[pin]
        sent: F,
        #[pin]
        timer: Sleep,
        upload: Option<Arc<Upload>>,
        first_byte: Duration,
        body_idle: Duration,
        // By then the answer would have to be over.
        until: Instant,
    }
}

impl<F> Waiting<F> {
    pub(super) fn new(limits: &Limits, upload: Option<Arc<Upload>>, sent: F) -> Self {
        let now = Instant::now();
        let until = now + limits.answer_total;
        Self {
            sent,
            timer: sleep_until(until.min(now + limits.first_byte)),
            upload,
            first_byte: limits.first_byte,
            body_idle: limits.body_idle,
            until,
        }
    }
}

impl<F: Future> Future for Waiting<F> {
    type Output = Result<F::Output, Late>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(answer) = this.sent.poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        loop {
            ready!(this.timer.as_mut().poll(cx));
            let Some(upload) = this.upload else {
                return Poll::Ready(Err(Late::Upstream));
            };
            let (deadline, late) = upload.deadline(*this.first_byte, *this.body_idle);
            let (deadline, late) = if *this.until < deadline {
                (*this.until, Late::Upstream)
            } else {
                (deadline, late)
            };
            if deadline <= Instant::now() {
                return Poll::Ready(Err(late));
            }
            this.timer.as_mut().reset(deadline);
        }
    }
}
