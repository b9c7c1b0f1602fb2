//! The one thread that writes the journal: numbers, chain, one write and one sync for all that is queued.

mod care;
mod end;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acknowledge::acknowledge;
use super::backlog::Backlog;
use super::inbox::{Batch, Inbox, Unwritten};
use super::lifecycle::{self, Constants, StartRecord};
use super::member::EventId;
use super::receipt::OVERDUE;
use super::retention::Retention;
use super::segment;
use super::sink::Rolling;
use super::sinks::Sinks;
use super::{Chain, EventKind, Settings};
use crate::clock::Timestamp;
use crate::telemetry::JournalMetrics;

/// How often the disk and the segment are looked at, and a journal that cannot be written is tried again.
const TICK: Duration = Duration::from_millis(400);

/// How long a segment that could not be followed by another goes on.
const ROLL_AGAIN: Duration = Duration::from_secs(10);

/// Numbers records, chains them and keeps them in its sink.
pub(super) struct Writer {
    sinks: Sinks,
    chain: Chain,
    constants: Constants,
    /// Where the journal is kept.
    dirs: Vec<PathBuf>,
    rolling: Rolling,
    retention: Retention,
    warn_below: u64,
    metrics: Arc<JournalMetrics>,
    /// Records lost since the last write that succeeded.
    gap: Option<Gap>,
    /// What the active segment declares.
    declared: Vec<Gap>,
    /// Records that found no room and may come later.
    backlog: Backlog,
    /// Decisions without a completion so far.
    open: u64,
    /// The last `policy.loaded`, for the heads of segments.
    policy: Vec<u8>,
    lines: Vec<u8>,
    looked: Instant,
    told: (Instant, u64),
    roll_from: Instant,
    /// When the journal could not be written, since it last could.
    failed: Option<Instant>,
    low: bool,
}

struct Gap {
    /// The number of the record that declares it.
    seq: u64,
    lost: u64,
    first: Timestamp,
    last: Timestamp,
    cause: String,
}

impl Writer {
    pub(super) fn new(
        sinks: Sinks,
        chain: Chain,
        start: &StartRecord<'_>,
        settings: &Settings,
        metrics: Arc<JournalMetrics>,
    ) -> Self {
        let now = Instant::now();
        Self {
            sinks,
            constants: Constants::of(start),
            dirs: settings.dirs().map(Path::to_owned).collect(),
            rolling: settings.rolling,
            retention: settings.retention,
            warn_below: settings.reserve.saturating_mul(4),
            metrics,
            gap: None,
            declared: Vec::new(),
            backlog: Backlog::default(),
            open: 0,
            policy: Vec::new(),
            lines: Vec::new(),
            looked: now,
            told: (now, chain.seq),
            roll_from: now,
            failed: None,
            low: false,
            chain,
        }
    }

    /// Writes what is queued until the inbox is closed and empty.
    pub(super) fn run(mut self, inbox: &Inbox) {
        let mut batches = Vec::new();
        self.look();
        while inbox.take(TICK, &mut batches) {
            if batches.is_empty() || self.looked.elapsed() > TICK {
                self.look();
            }
            self.write(&mut batches, false);
            batches.clear();
        }
        self.end();
    }

    /// Appends all batches by one write and at most one sync, and tells their cores.
    fn write(&mut self, batches: &mut [Batch], last: bool) {
        let dropped: u64 = batches.iter().map(|batch| batch.lost).sum();
        if dropped > 0 {
            self.lose(dropped, "no room before the journal");
        }
        if !last && self.failed.is_some_and(|failed| failed.elapsed() < TICK) {
            // What has just failed is not tried again for every batch.
            self.give_up(batches, "the journal could not be written a moment ago");
            acknowledge(batches.iter_mut(), false);
            return;
        }
        self.sinks.regain_room();
        self.turn_over();
        // Asked once: another thread may change it at any time.
        let declares = last || !self.sinks.is_full();
        let (before, open) = (self.chain, self.open);
        self.lines.clear();
        self.begin_segment();
        if declares {
            self.declare();
        }
        let mut refused = 0;
        for batch in batches.iter_mut() {
            if !declares {
                self.divide(batch);
            }
            for (kind, watched, rest) in batch.records() {
                let decides = kind == EventKind::CallDecision;
                let waits = decides && watched && batch.unwritten == Some(Unwritten::Waiting);
                if (waits || (!declares && self.backlog.is_awaited(kind, rest)))
                    && self.backlog.push(kind, rest)
                {
                    continue;
                }
                let divided = batch.refused && !watched || batch.unwritten.is_some() && watched;
                if decides && divided || !declares && !kind.may_use_reserve() {
                    refused += 1;
                    continue;
                }
                self.count(kind, rest);
                self.chain.append(kind, rest, &mut self.lines);
            }
        }
        if self.lines.is_empty() {
            self.refuse(refused);
            acknowledge(batches.iter_mut(), true);
            return;
        }
        let records = self.chain.seq - before.seq;
        let began = Instant::now();
        let next = self.chain.seq + 1;
        let sync = batches.iter().any(|batch| batch.sync) || self.gap.is_some();
        let first = before.seq + 1;
        if let Err(cause) = self.sinks.append(&self.lines, first, next, sync) {
            (self.chain, self.open) = (before, open);
            self.failed = Some(Instant::now());
            self.refuse(refused);
            self.give_up(batches, &cause);
            acknowledge(batches.iter_mut(), false);
            return;
        }
        self.failed = None;
        self.refuse(refused);
        if declares {
            // What a sync fails on now is written again, the declaration with the rest.
            self.backlog.clear();
            self.declared.extend(self.gap.take());
        }
        // Whoever needs no sync does not wait for one.
        acknowledge(batches.iter_mut().filter(|batch| !batch.sync), true);
        let synced = self.sinks.settle(&self.lines, next, sync);
        if synced.is_err() {
            // They may be there or not, which is not the same as lost.
            let uncertain = batches.iter().filter(|batch| batch.sync);
            for state in uncertain
                .flat_map(|batch| [&batch.state, &batch.watched_state])
                .flatten()
            {
                state.settle(OVERDUE);
            }
        }
        acknowledge(
            batches.iter_mut().filter(|batch| batch.sync),
            synced.is_ok(),
        );
        match synced {
            Ok(()) => {
                self.metrics.committed(records, began.elapsed());
                if declares {
                    self.metrics.writable();
                }
            }
            Err(cause) => self.lose(0, &cause),
        }
        self.metrics.head(self.chain.seq);
    }

    /// What has to be declared before anything else: records that were lost, ends of calls that had to wait.
    fn declare(&mut self) {
        if let Some(gap) = &mut self.gap {
            let event = EventId::new(Timestamp::now());
            self.chain.append(
                EventKind::AuditGap,
                &lifecycle::gap(event, gap.lost, gap.first, gap.last, &gap.cause),
                &mut self.lines,
            );
            gap.seq = self.chain.seq;
        }
        let backlog = std::mem::take(&mut self.backlog);
        for (kind, rest) in backlog.records() {
            self.count(kind, rest);
            self.chain.append(kind, rest, &mut self.lines);
        }
        // Until it is written it may have to be written again.
        self.backlog = backlog;
    }

    /// Says what becomes of a batch's decisions while the disk is full: those that hold their calls up are refused, the
    /// others wait in memory, all or none.
    fn divide(&self, batch: &mut Batch) {
        batch.refused = batch.holds_up();
        batch.unwritten = Some(if self.backlog.fits(batch.watched_bytes()) {
            Unwritten::Waiting
        } else {
            Unwritten::Lost
        });
    }

    fn count(&mut self, kind: EventKind, rest: &[u8]) {
        match kind {
            EventKind::CallDecision => self.open += 1,
            EventKind::CallCompletion => self.open = self.open.saturating_sub(1),
            EventKind::PolicyLoaded => rest.clone_into(&mut self.policy),
            _ => {}
        }
    }

    /// The batches could not be written: how calls ended, and what was decided for calls that go on all the same, is kept
    /// in memory for later; the rest is lost.
    fn give_up(&mut self, batches: &mut [Batch], cause: &str) {
        let mut lost = 0;
        for batch in batches {
            // What was divided before has been taken or counted already.
            let divided = batch.unwritten.is_some();
            if !divided {
                self.divide(batch);
            }
            for (kind, watched, rest) in batch.records() {
                let decides = kind == EventKind::CallDecision;
                if divided && (decides || self.backlog.is_awaited(kind, rest)) {
                    continue;
                }
                let may_wait = kind == EventKind::CallCompletion
                    || watched && batch.unwritten == Some(Unwritten::Waiting);
                if !(may_wait && self.backlog.push(kind, rest)) {
                    lost += 1;
                }
            }
        }
        self.lose(lost, cause);
    }

    /// Closes a segment that is due, or cannot be written any more, and begins the next.
    fn turn_over(&mut self) {
        let broken = self.sinks.is_broken();
        let due = self.sinks.is_due(self.rolling);
        // A disk that has just failed is not tried again for every batch.
        if self.sinks.is_full() || !(broken || due) || self.roll_from > Instant::now() {
            return;
        }
        if due && !broken {
            let mut lines = Vec::new();
            let mut chain = self.chain;
            let next = segment::name(chain.seq + 2);
            chain.append(
                EventKind::AuditCheckpoint,
                &lifecycle::segment_end(EventId::new(Timestamp::now()), &next),
                &mut lines,
            );
            let (first, next) = (chain.seq, chain.seq + 1);
            if self.sinks.append(&lines, first, next, true).is_err() {
                return;
            }
            // Its number is taken: what a sync fails on is written again.
            self.chain = chain;
            if self.sinks.settle(&lines, next, true).is_err() {
                return;
            }
        }
        let begun = self.sinks.begin(self.chain.seq + 1, self.retention);
        if begun.is_ok() {
            self.declared.clear();
        }
        if let Err(error) = begun {
            tracing::warn!(%error, "a new segment of the journal cannot be begun");
            self.roll_from = Instant::now() + if broken { TICK } else { ROLL_AGAIN };
        }
    }

    /// The head of a new segment: what its records refer to, and the chain that they go on with.
    fn begin_segment(&mut self) {
        if !self.sinks.is_new() {
            return;
        }
        let event = EventId::new(Timestamp::now());
        let head = lifecycle::segment_head(event, &self.constants, self.chain.head, self.open);
        self.chain
            .append(EventKind::AuditCheckpoint, &head, &mut self.lines);
        if !self.policy.is_empty() {
            // The same event as before, for whoever reads this segment alone.
            self.chain
                .append(EventKind::PolicyLoaded, &self.policy, &mut self.lines);
        }
    }

    /// Decisions found no room: their calls are refused, or go on unrecorded.
    fn refuse(&mut self, refused: u64) {
        if refused > 0 {
            self.lose(refused, "the disk is full");
        }
    }

    fn lose(&mut self, lost: u64, cause: &str) {
        self.lose_since(Timestamp::now(), lost, cause);
    }

    /// Records were lost, the first of them written or refused at `first`.
    fn lose_since(&mut self, first: Timestamp, lost: u64, cause: &str) {
        let now = Timestamp::now();
        if self.gap.is_none() {
            tracing::error!(
                cause,
                "the journal cannot be written or has lost records; enforcing gates answer 503 until it can"
            );
        }
        let gap = self.gap.get_or_insert_with(|| Gap {
            seq: 0,
            lost: 0,
            first,
            last: now,
            cause: cause.to_owned(),
        });
        gap.first = gap.first.min(first);
        gap.lost = gap.lost.saturating_add(lost);
        // The end of a call whose decision is among them may still come: the count of open ones is never too low.
        self.open = self.open.saturating_add(lost);
        gap.last = now;
        self.metrics.failed(lost, cause);
    }
}
