//! What a task may do in a row before others have their turn.

use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Counts what a task does in a row, and puts it off once that is enough.
#[derive(Debug)]
pub struct Turn {
    most: u32,
    taken: u32,
    /// Others have their turn now.
    given: Option<Arc<Given>>,
}

#[derive(Debug)]
struct Given {
    over: AtomicBool,
    task: Mutex<Waker>,
}

impl Turn {
    /// One of so much, in whatever is counted.
    pub const fn of(most: u32) -> Self {
        Self {
            most,
            taken: 0,
            given: None,
        }
    }

    /// Counts something that was done.
    pub const fn take(&mut self, taken: u32) {
        self.taken = self.taken.saturating_add(taken);
    }

    /// Others had their turn for another reason.
    pub const fn begin_again(&mut self) {
        if self.given.is_none() {
            self.taken = 0;
        }
    }

    /// Ready while the turn lasts. Then pending, however often it is asked and whoever wakes the task, until every other task
    /// that is ready had its turn and the sockets were looked at.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.taken < self.most {
            return Poll::Ready(());
        }
        let given = self.given.get_or_insert_with(|| Given::away(cx.waker()));
        // What a runtime has put off it forgets when it ends or its `block_on` does: then nobody will say that it is over.
        if !given.is_over(cx.waker()) && Arc::strong_count(given) > 1 {
            return Poll::Pending;
        }
        (self.given, self.taken) = (None, 0);
        Poll::Ready(())
    }
}

impl Given {
    fn away(task: &Waker) -> Arc<Self> {
        let given = Arc::new(Self {
            over: AtomicBool::new(false),
            task: Mutex::new(task.clone()),
        });
        // What tokio puts off it wakes once it has run out of ready tasks and polled the sockets. A task that wakes itself
        // instead has many turns between two such looks.
        let waker = Waker::from(Arc::clone(&given));
        let put_off = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        debug_assert!(put_off.is_pending(), "the first time it is never ready");
        given
    }

    /// True once it is; else this is the task to wake then.
    fn is_over(&self, task: &Waker) -> bool {
        self.task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(task);
        self.over.load(Ordering::Acquire)
    }
}

impl Wake for Given {
    fn wake(self: Arc<Self>) {
        self.over.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Polled again and again within one turn, as hyper does, or woken by somebody else, it has no second turn.
    #[test]
    fn being_asked_again_is_no_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let others = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&others);
            let other = tokio::spawn(async move {
                loop {
                    counted.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
            let mut turn = Turn::of(3);
            let mut done = 0;
            let task = poll_fn(|cx| {
                for _ in 0..100 {
                    if turn.poll(cx).is_ready() {
                        turn.take(1);
                        done += 1;
                    }
                }
                cx.waker().wake_by_ref();
                if done < 30 {
                    Poll::Pending
                } else {
                    Poll::Ready(done)
                }
            });
            assert_eq!(task.await, 30, "three in each turn");
            assert!(others.load(Ordering::Relaxed) >= 9, "{others:?}");
            other.abort();
        });
    }

    /// A runtime, and a turn that is used up.
    fn used_up() -> (tokio::runtime::Runtime, Turn) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut turn = Turn::of(1);
        turn.take(1);
        (runtime, turn)
    }

    /// What was put off in one `block_on` is not waited for in the next.
    #[test]
    fn a_turn_ends_with_its_runtime() {
        let (runtime, mut turn) = used_up();
        runtime.block_on(poll_fn(|cx| {
            assert!(turn.poll(cx).is_pending());
            Poll::Ready(())
        }));
        runtime.block_on(poll_fn(|cx| turn.poll(cx)));
    }

    /// While others have their turn nothing begins again.
    #[test]
    fn what_was_given_away_is_not_taken_back() {
        let (runtime, mut turn) = used_up();
        runtime.block_on(poll_fn(|cx| {
            assert!(turn.poll(cx).is_pending());
            turn.begin_again();
            assert!(turn.poll(cx).is_pending());
            Poll::Ready(())
        }));
    }
}
