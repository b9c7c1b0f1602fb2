//! What the writer does for disk and segment between two writes.

use std::time::{Duration, Instant};

use super::Writer;
use crate::audit::segment::Tampering;

/// How often the head of the chain is told to the process log: a tail that was cut off shows against it.
const TELL: Duration = Duration::from_secs(10);

impl Writer {
    /// Looks after disk and segment, also when nothing is written.
    pub(super) fn look(&mut self) {
        self.looked = Instant::now();
        if let Some((tampering, left)) = self.sinks.tampering() {
            self.tampered(tampering, left);
        }
        if self.sinks.is_full() && self.gap.is_none() {
            self.lose(0, "the disk has less room than the reserve");
        }
        if let Some(free) = self.sinks.free_bytes() {
            self.metrics.free(free);
            let low = free < self.warn_below;
            if low && !self.low {
                tracing::warn!(free_mib = free >> 20, "the journal's disk is filling up");
            }
            self.low = low;
        }
        let (told, seq) = self.told;
        if told.elapsed() > TELL && seq != self.chain.seq {
            self.told = (self.looked, self.chain.seq);
            let hash = self.chain.head.to_string();
            tracing::info!(seq = self.chain.seq, hash, "the journal's head");
        }
    }

    /// Somebody moved, cut or removed the active segment: a new one is begun at once.
    fn tampered(&mut self, tampering: Tampering, left: u64) {
        let written = self.chain.seq + 1 - self.sinks.first();
        let (cause, lost) = match tampering {
            Tampering::Renamed => {
                tracing::warn!(
                    "the journal's segment was renamed from outside; a new one is begun"
                );
                ("", 0)
            }
            Tampering::Deleted => ("the segment was deleted from outside", written),
            Tampering::Truncated => (
                "the segment was truncated from outside",
                written.saturating_sub(left),
            ),
        };
        if lost > 0 {
            self.lose(lost, cause);
        }
        if let Err(error) = self.sinks.begin(self.chain.seq + 1, self.retention) {
            self.lose(0, &format!("{cause}; a new one cannot be begun: {error}"));
        }
    }
}
