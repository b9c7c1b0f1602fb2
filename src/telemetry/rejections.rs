//! Rejections of a gate: the first of each moment have a record of their own, of the rest there is a sum.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::model::Reason;

/// How many have a record of their own between two sums, which are half a second apart. Whoever sends nothing but garbage can
/// fill the journal no faster than that.
const OWN_RECORDS: u32 = 20;

/// What was rejected since the last sum.
#[derive(Debug, Default)]
pub struct Rejections {
    recorded: AtomicU32,
    more: [AtomicU64; Reason::ALL.len()],
}

impl Rejections {
    /// Counts one; true if it is to have a record of its own.
    pub fn note(&self, reason: Reason) -> bool {
        if self.recorded.fetch_add(1, Ordering::Relaxed) < OWN_RECORDS {
            return true;
        }
        let mut counts = Reason::ALL.into_iter().zip(&self.more);
        if let Some((_, more)) = counts.find(|(known, _)| *known == reason) {
            more.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    /// Those without a record of their own, by reason, since this was asked last.
    pub fn take(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.recorded.store(0, Ordering::Relaxed);
        let counts = Reason::ALL.into_iter().zip(&self.more);
        counts
            .map(|(reason, more)| (reason, more.swap(0, Ordering::Relaxed)))
            .filter(|(_, more)| *more > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_has_a_record_or_is_in_a_sum() {
        let rejections = Rejections::default();
        let all = u64::from(OWN_RECORDS) + 7;
        let own = (0..all).filter(|_| rejections.note(Reason::AmbiguousFraming));
        assert_eq!(own.count(), 20);
        let sums: Vec<_> = rejections.take().collect();
        assert_eq!(sums, [(Reason::AmbiguousFraming, 7)]);
        assert!(rejections.note(Reason::UpgradeRefused));
        assert_eq!(rejections.take().count(), 0);
    }
}
