//! The process log's way to stderr. Nobody who has something to say waits for whoever reads it.

use std::io::{self, Write};
use std::panic;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
pub use tracing_appender::non_blocking::NonBlocking;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait for the reader.
const WAITING: usize = 4096;

/// How long the end of the process waits for whoever reads what it has to say.
const LAST_WAIT: Duration = Duration::from_millis(1500);

/// Counts the lines of the process's log that found no room.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// The lines that wait for their reader. They are written when it is dropped, unless that takes too long.
#[derive(Debug)]
pub struct Remainder(Option<WorkerGuard>);

/// A way to stderr by a thread of its own. Beyond what has room lines are lost, and counted; or, where the log is to be
/// `complete`, waited for. Panics are told there too: what a thread would write of them itself waits for stderr.
pub fn stderr(complete: bool) -> (NonBlocking, Remainder) {
    let (lines, guard) = way_to(io::stderr(), complete);
    let _ = LOST.set(lines.error_counter());
    panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%backtrace, "{panic}");
    }));
    (lines, Remainder(Some(guard)))
}

/// Does something that may wait for a reader, and leaves it to itself if that hangs.
pub fn without_waiting_long(deed: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let told = thread::Builder::new().spawn(move || {
        deed();
        let _ = done.send(());
    });
    if told.is_ok() {
        let _ = is_done.recv_timeout(LAST_WAIT);
    }
}

impl Drop for Remainder {
    fn drop(&mut self) {
        // Where it cannot say that this is the end it complains on stdout, which may be the same pipe.
        let guard = self.0.take();
        without_waiting_long(move || drop(guard));
    }
}

fn way_to(reader: impl Write + Send + 'static, complete: bool) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING)
        .lossy(!complete)
        .thread_name("log")
        .finish(reader)
}

/// Tells how many lines were lost.
#[derive(Debug)]
pub(super) struct Collector;

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lost = LOST.get().map_or(0, ErrorCounter::dropped_lines);
        let counter = encoder.encode_descriptor(
            "log_lines_lost",
            "Lines of the process log that nobody took in time",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(u64::try_from(lost).unwrap_or(u64::MAX)).encode(counter)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes a line whenever it is let.
    struct Reader(mpsc::Receiver<()>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_hangs_holds_nobody_up() {
        let (let_go, waits) = mpsc::channel();
        let (mut lines, guard) = way_to(Reader(waits), false);
        let lost = lines.error_counter();
        // One is with the reader, or about to be.
        for _ in 0..=WAITING + 10 {
            lines.write_all(b"line\n").unwrap();
        }
        assert!((10..=11).contains(&lost.dropped_lines()), "{lost:?}");
        drop((let_go, guard));
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_hangs() {
        let (let_go, waits) = mpsc::channel();
        let (mut lines, guard) = way_to(Reader(waits), false);
        for _ in 0..=WAITING + 1 {
            lines.write_all(b"line\n").unwrap();
        }
        drop(Remainder(Some(guard)));
        let (held, hangs) = mpsc::channel::<()>();
        without_waiting_long(move || {
            let _ = hangs.recv();
        });
        drop((let_go, held));
    }
}
