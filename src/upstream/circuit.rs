//! A circuit for an upstream that nobody answers at: after a few failures in a row calls are told so at once, and one a
//! second tries again. It closes with the first connection.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many connections fail in a row before the circuit opens.
const FAILURES: u32 = 5;

/// How long an open circuit waits before it lets one call try.
const WAIT: Duration = Duration::from_secs(1);

/// Whether connections to an upstream are worth a try. Shared by all cores.
#[derive(Debug)]
pub struct Circuit {
    began: Instant,
    failures: AtomicU32,
    /// When the next call may try, in milliseconds since `began`; 0 while the circuit is closed.
    next: AtomicU64,
}

impl Default for Circuit {
    /// A closed circuit.
    fn default() -> Self {
        Self {
            began: Instant::now(),
            failures: AtomicU32::new(0),
            next: AtomicU64::new(0),
        }
    }
}

impl Circuit {
    /// True while it is open.
    pub fn is_open(&self) -> bool {
        self.next.load(Ordering::Relaxed) != 0
    }

    /// True if a connection may be tried. Of the calls that come while the circuit is open, one a second may.
    pub fn permits(&self) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        if next == 0 {
            return true;
        }
        let now = self.now();
        let after = now + millis(WAIT);
        now >= next
            && self
                .next
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Notes that a connection was made. True if that closes the circuit.
    pub fn connected(&self) -> bool {
        // Read first: this is on the path of every call, and all cores share the line. Another core may have counted the last
        // failure and open it only now, after its count was cleared.
        if self.failures.load(Ordering::Relaxed) == 0 && !self.is_open() {
            return false;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.next.swap(0, Ordering::Relaxed) != 0
    }

    /// Notes that no connection could be made. True if that opens the circuit.
    pub fn failed(&self) -> bool {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if failures < FAILURES {
            return false;
        }
        let next = (self.now() + millis(WAIT)).max(1);
        self.next.swap(next, Ordering::Relaxed) == 0
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_a_connection() {
        let circuit = Circuit::default();
        for _ in 1..FAILURES {
            assert!(!circuit.failed());
        }
        assert!(!circuit.connected(), "it was never open");
        for failure in 1..=FAILURES {
            assert!(circuit.permits());
            assert_eq!(circuit.failed(), failure == FAILURES);
        }
        assert!(!circuit.permits(), "open");
        assert!(circuit.is_open());
        assert!(circuit.connected());
        assert!(circuit.permits());
        assert!(!circuit.is_open());
    }

    #[test]
    fn a_connection_closes_it_though_a_failure_was_counted_before_and_opens_it_after() {
        let circuit = Circuit::default();
        for _ in 0..FAILURES {
            circuit.failed();
        }
        // As a core does that was preempted between its count and this.
        let next = circuit.next.load(Ordering::Relaxed);
        assert!(circuit.connected());
        circuit.next.store(next, Ordering::Relaxed);
        assert!(circuit.connected());
        assert!(circuit.permits() && !circuit.is_open());
    }
}
