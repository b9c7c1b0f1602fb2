//! The writer's last records, and what it leaves to the next start.

use super::{Gap, Writer};
use crate::audit::inbox::Batch;
use crate::audit::member::EventId;
use crate::audit::{EventKind, lifecycle, undeclared};
use crate::clock::Timestamp;

impl Writer {
    /// Writes what waits, what has to be declared and that the journal ends here. What cannot be declared even now is left
    /// to the next start.
    pub(super) fn end(mut self) {
        // Whoever laid hands on a segment since the last look is found out before the end, not never.
        self.sinks.look_now();
        self.look();
        // The reserve is there for this: what waits is written even if the disk is full.
        self.write(&mut [stop_batch()], true);
        let waiting = self.backlog.len();
        if waiting > 0 {
            self.backlog.clear();
            self.lose(waiting, "the disk was full to the end");
            self.write(&mut [stop_batch()], true);
        }
        self.sinks.finish();
        if let Some(loss) = self.sinks.tampering(self.chain.seq + 1) {
            self.count_lost(&loss);
        }
        self.tell_head();
        if let Some(gap) = &self.gap {
            self.leave(gap);
        }
    }

    /// Leaves a declaration to the next start.
    fn leave(&self, gap: &Gap) {
        let Gap {
            lost,
            first,
            last,
            cause,
            ..
        } = gap;
        let event = EventId::new(Timestamp::now());
        let declaration = lifecycle::gap(event, *lost, *first, *last, cause);
        let left = undeclared::leave(&self.dirs, &declaration);
        let (first, last) = (first.to_rfc3339(), last.to_rfc3339());
        // If not even that could be written, this is the only place left to say it.
        tracing::error!(
            lost,
            first,
            last,
            cause,
            left,
            "records were lost that the journal could not declare; if left, its next start does"
        );
    }
}

fn stop_batch() -> Batch {
    let mut batch = Batch::default();
    batch.sync = true;
    batch.push(EventKind::AuditStopped, |out| {
        lifecycle::write_stop(out, EventId::new(Timestamp::now()));
    });
    batch
}
