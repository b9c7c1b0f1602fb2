//! What is measured of the link between instances.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What is measured of the link between instances.
#[derive(Debug, Default)]
pub struct SharedMetrics {
    up: Gauge,
    told: Counter,
    heard: Counter,
    lost: Counter,
    is_down: AtomicBool,
    cause: Mutex<String>,
}

impl SharedMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("up", "1 while other instances are heard", self.up.clone());
        registry.register(
            "told",
            "Changes of grants told to others",
            self.told.clone(),
        );
        registry.register(
            "heard",
            "Changes of grants that others told",
            self.heard.clone(),
        );
        registry.register(
            "lost",
            "Changes of grants that found no room while Redis was out of order",
            self.lost.clone(),
        );
    }

    /// Notes that others are heard; true if they were not before.
    pub fn up(&self) -> bool {
        self.is_down.store(false, Ordering::Release);
        self.up.set(1) == 0
    }

    /// Notes that others are not heard; true if they were before, or never yet.
    pub fn down(&self, cause: &str) -> bool {
        cause.clone_into(&mut self.cause.lock().unwrap_or_else(PoisonError::into_inner));
        self.up.set(0);
        !self.is_down.swap(true, Ordering::AcqRel)
    }

    /// Counts a change that was told.
    pub fn told(&self) {
        self.told.inc();
    }

    /// Counts changes that others told.
    pub fn heard(&self, count: usize) {
        self.heard.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts a change that found no room.
    pub fn lost(&self) {
        self.lost.inc();
    }

    /// Why others are not heard; `None` while they are.
    pub fn trouble(&self) -> Option<String> {
        self.is_down.load(Ordering::Acquire).then(|| {
            self.cause
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
    }
}
