//! The process log's way to stderr. Nobody who has something to say waits for whoever reads it.

use std::io::{self, Write};
use std::sync::OnceLock;

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tracing_appender::non_blocking::NonBlockingBuilder;
pub use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, WorkerGuard};

/// Lines that may wait for the reader.
const WAITING: usize = 4096;

/// Counts the lines of the process's log that found no room.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// A way to stderr by a thread of its own; what waits is written until the guard is dropped, for a second at most. Beyond
/// what has room lines are lost, and counted; or, where the log is to be `complete`, waited for.
pub fn stderr(complete: bool) -> (NonBlocking, WorkerGuard) {
    let (lines, guard) = way_to(io::stderr(), complete);
    let _ = LOST.set(lines.error_counter());
    (lines, guard)
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
}
