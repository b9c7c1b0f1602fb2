//! What learning needs of a gate, and what it tells.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::audit::{DriftRecord, EndRecord, EventKind, GateText, Recorder};
use crate::catalogue::Catalogue;
use crate::clock::Timestamp;
use crate::model::{Holding, ScopeSet, TokenId, TokenIdKey};
use crate::telemetry::GateMetrics;
use crate::vendor::Vendor;

/// How often a drift of one operation, or one scope, is recorded at most, in seconds.
const DRIFT_PAUSE: u32 = 3600;

/// How many operations and scopes with a drift are remembered; more are counted only.
const DRIFTS: usize = 4096;

/// What learning needs of a gate, for one generation of the configuration.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The dialect.
    pub vendor: Vendor,
    /// What scopes stand for.
    pub catalogue: Arc<Catalogue>,
    /// The key behind token ids.
    pub key: Arc<TokenIdKey>,
    /// Generation, gate and app, for records.
    pub text: GateText,
    /// The way to the journal; `None` where none is kept.
    pub recorder: Option<Recorder>,
    /// Counts.
    pub metrics: Arc<GateMetrics>,
    /// When a drift was last recorded, by what drifted; shared by generations.
    pub drifts: Arc<Drifts>,
}

/// When a drift was last recorded.
#[derive(Debug, Default)]
pub struct Drifts(Mutex<HashMap<String, u32>>);

impl Scene {
    /// What a token holds that was granted these scopes.
    pub fn hold(&self, granted: &ScopeSet) -> Holding {
        self.vendor.holding(&self.catalogue, granted.iter())
    }

    pub(super) fn record(&self, kind: EventKind, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(recorder) = &self.recorder {
            recorder.append(kind, write);
        }
    }

    pub(super) fn ended(&self, token: TokenId, cause: &'static str) {
        let record = EndRecord {
            time: Timestamp::now(),
            gate: &self.text,
            token,
            cause,
        };
        self.record(EventKind::GrantRevoked, |out| record.write(out));
    }

    /// Notes scopes that the catalogue does not know.
    pub(super) fn note_unknown(&self, scopes: &ScopeSet, now: u32) {
        for code in scopes.iter() {
            let code = self.vendor.scope_code(code);
            if self.catalogue.has_scope(code) {
                continue;
            }
            self.metrics.drift.inc();
            if self.drifts.is_due(&format!("scope {code}"), now) {
                let record = DriftRecord {
                    time: Timestamp::now(),
                    gate: &self.text,
                    call: None,
                    operation: "unparsed",
                    required: &[],
                    granted: None,
                    unknown_scope: Some(code),
                    vendor_error: None,
                };
                self.record(EventKind::DriftDetected, |out| record.write(out));
            }
        }
    }
}

impl Drifts {
    /// True if this was not recorded within the last hour; it is now.
    pub(super) fn is_due(&self, what: &str, now: u32) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(what) {
            Some(last) if last.saturating_add(DRIFT_PAUSE) > now => return false,
            None if known.len() >= DRIFTS => {
                known.retain(|_, last| last.saturating_add(DRIFT_PAUSE) > now);
                if known.len() >= DRIFTS {
                    return false;
                }
            }
            _ => {}
        }
        known.insert(what.to_owned(), now);
        true
    }
}
