//! The counts of calls: kept by each core for itself, added up when somebody looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use rustc_hash::FxHashMap;

use crate::model::{DecisionWord, Reason};

/// The calls that one core has decided on.
#[derive(Debug, Default)]
pub struct CallCounts {
    calls: Mutex<FxHashMap<CallKey, u64>>,
    /// Members of batches that were permitted, by gate and the operation's number.
    members: Mutex<FxHashMap<(u16, u32), u64>>,
}

/// What calls are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey {
    /// The gate's position in the configuration.
    pub gate: u16,
    /// The decision.
    pub decision: DecisionWord,
    /// Its reason.
    pub reason: Reason,
    /// The operation.
    pub operation: OperationKey,
}

/// The operation by which a call is counted: a catalogued one, or none, so that no client can add series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperationKey {
    /// A catalogued one, by the number under which [`Metrics::numbers`](super::Metrics::numbers) has it.
    Listed(u32),
    /// A name that the catalogue does not have, or a form that is not read.
    Unlisted,
    /// A CORS preflight.
    Preflight,
    /// Traffic of the token endpoint.
    TokenTraffic,
    /// No operation was read.
    Unparsed,
}

/// The names behind the numbers of a [`CallKey`].
#[derive(Debug, Clone)]
pub struct GateNames {
    /// The gate's name.
    pub gate: String,
    /// The names of its catalogue's operations, in order.
    pub operations: Vec<Box<str>>,
}

impl CallCounts {
    /// Counts a call.
    pub fn count(&self, key: CallKey) {
        *self
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_default() += 1;
    }

    /// Counts the permitted members of a batch, by the numbers of their operations.
    pub fn count_members(&self, gate: u16, numbers: impl Iterator<Item = u32>) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            *members.entry((gate, number)).or_default() += 1;
        }
    }
}

/// Adds up the counts of all cores.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    /// Names are only ever added: a number keeps its name over generations.
    gates: Arc<Vec<Mutex<GateNames>>>,
    cores: Arc<Vec<Arc<CallCounts>>>,
}

impl Collector {
    pub(super) fn new(gates: Vec<GateNames>, cores: usize) -> Self {
        Self {
            gates: Arc::new(gates.into_iter().map(Mutex::new).collect()),
            cores: Arc::new((0..cores).map(|_| Arc::default()).collect()),
        }
    }

    pub(super) fn core(&self, core: usize) -> Option<Arc<CallCounts>> {
        self.cores.get(core).cloned()
    }

    /// The numbers by which a gate's operations are counted, in the order of their names; new names get new numbers.
    pub(super) fn numbers<'n>(
        &self,
        gate: usize,
        names: impl Iterator<Item = &'n str>,
    ) -> Vec<u32> {
        let Some(known) = self.gates.get(gate) else {
            return Vec::new();
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers: FxHashMap<Box<str>, usize> = known
            .operations
            .iter()
            .enumerate()
            .map(|(number, name)| (name.clone(), number))
            .collect();
        names
            .map(|name| {
                let number = *numbers.entry(name.into()).or_insert_with(|| {
                    known.operations.push(name.into());
                    known.operations.len() - 1
                });
                u32::try_from(number).unwrap_or(u32::MAX)
            })
            .collect()
    }

    /// How often each of a gate's operations was permitted by a scope, by its number, single calls and members of batches.
    pub(super) fn permitted(&self, gate: u16) -> FxHashMap<u32, u64> {
        let mut sums: FxHashMap<u32, u64> = FxHashMap::default();
        for core in self.cores.iter() {
            let calls = core.calls.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, count) in calls.iter() {
                if let (OperationKey::Listed(number), Reason::Permitted) =
                    (key.operation, key.reason)
                    && key.gate == gate
                {
                    *sums.entry(number).or_default() += count;
                }
            }
            drop(calls);
            let members = core.members.lock().unwrap_or_else(PoisonError::into_inner);
            for ((_, number), count) in members.iter().filter(|((of, _), _)| *of == gate) {
                *sums.entry(*number).or_default() += count;
            }
        }
        sums
    }

    fn labels(key: CallKey, gate: Option<&GateNames>) -> Labels<'_> {
        let operation = match key.operation {
            OperationKey::Listed(index) => gate
                .and_then(|names| names.operations.get(usize::try_from(index).ok()?))
                .map_or("unlisted", AsRef::as_ref),
            OperationKey::Unlisted => "unlisted",
            OperationKey::TokenTraffic => "token_traffic",
            OperationKey::Preflight => "preflight",
            OperationKey::Unparsed => "unparsed",
        };
        [
            ("gate", gate.map_or("", |names| names.gate.as_str())),
            ("decision", key.decision.as_str()),
            ("reason", key.reason.as_str()),
            ("operation", operation),
        ]
    }
}

type Labels<'n> = [(&'static str, &'n str); 4];

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let names: Vec<GateNames> = self
            .gates
            .iter()
            .map(|gate| gate.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect();
        let mut sums: BTreeMap<Labels<'_>, u64> = BTreeMap::new();
        for core in self.cores.iter() {
            let calls = core.calls.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, count) in calls.iter() {
                let gate = names.get(usize::from(key.gate));
                *sums.entry(Self::labels(*key, gate)).or_default() += count;
            }
        }
        let mut family = encoder.encode_descriptor(
            "calls",
            "Calls by gate, decision, reason and catalogued operation",
            None,
            MetricType::Counter,
        )?;
        for (labels, count) in sums {
            ConstCounter::new(count).encode(family.encode_family(&labels.as_slice())?)?;
        }
        Ok(())
    }
}
