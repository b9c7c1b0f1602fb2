//! What the writer does for disk and segment between two writes.

use std::time::{Duration, Instant};

use super::Writer;
use crate::audit::segment::Tampering;
use crate::audit::sink::Loss;
use crate::clock::Timestamp;

/// How often the head of the chain is told to the process log: a tail that was cut off shows against it.
const TELL: Duration = Duration::from_secs(10);

/// After so many records it is told sooner, though not more often than so.
const TELL_AFTER: u64 = 1000;
const TELL_AT_MOST: Duration = Duration::from_secs(1);

impl Writer {
    /// Looks after disk and segment, also when nothing is written.
    pub(super) fn look(&mut self) {
        self.looked = Instant::now();
        self.sinks.watch();
        if let Some(loss) = self.sinks.tampering(self.chain.seq + 1) {
            self.tampered(&loss);
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
        let well = self.gap.is_none() && self.failed.is_none();
        if well && !self.sinks.is_full() && !self.sinks.is_broken() {
            // A core may have said that the disk does not answer, when it just had.
            self.metrics.writable();
        }
        let (told, seq) = self.told;
        let many = self.chain.seq - seq >= TELL_AFTER && told.elapsed() > TELL_AT_MOST;
        if many || told.elapsed() > TELL {
            self.tell_head();
        }
    }

    /// Tells the head of the chain to the process log, if it has moved.
    pub(super) fn tell_head(&mut self) {
        if self.told.1 != self.chain.seq {
            self.told = (Instant::now(), self.chain.seq);
            let hash = self.chain.head.to_string();
            tracing::info!(seq = self.chain.seq, hash, "the journal's head");
        }
    }

    /// Somebody moved, cut or removed the active segment: a new one is begun at once. As long as none can be, nothing is
    /// written to one that is gone.
    fn tampered(&mut self, loss: &Loss) {
        let cause = self.count_lost(loss);
        self.sinks.give_up(cause);
        if let Err(error) = self.sinks.begin(self.chain.seq + 1, self.retention) {
            tracing::error!(%error, cause, "a new segment of the journal cannot be begun");
        }
    }

    /// Counts what is gone by it, to be declared, and says what was done.
    pub(super) fn count_lost(&mut self, loss: &Loss) -> &'static str {
        let cause = match loss.tampering {
            Tampering::Renamed => {
                tracing::warn!("the journal's segment was renamed from outside");
                "the segment was renamed from outside"
            }
            Tampering::Deleted => "the segment was deleted from outside",
            Tampering::Truncated => "the segment was truncated from outside",
        };
        let lost = loss.lost.count();
        if lost > 0 {
            self.lose_since(Timestamp::from(loss.since), lost, cause);
            self.declare_again(loss);
        }
        cause
    }

    /// What the lost records had declared is to be declared again.
    fn declare_again(&mut self, loss: &Loss) {
        for before in std::mem::take(&mut self.declared) {
            if !loss.lost.contains(before.seq) {
                self.declared.push(before);
            } else if let Some(gap) = &mut self.gap {
                gap.lost = gap.lost.saturating_add(before.lost);
                gap.first = gap.first.min(before.first);
            }
        }
    }
}
