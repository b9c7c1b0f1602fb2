//! The running program: start, serve, stop.
//!
//! Start: lock the state directory, open and repair the journal, bind every port, start one thread for each core, say
//! that all is ready. Stop, in this order: refuse new connections, let calls under way end (at most `grace_secs`),
//! close what is left, write the journal to its end. A second signal skips the waiting.

mod assemble;
#[cfg(feature = "otlp")]
pub mod collector;
mod core;
mod drain;
mod hearing;
mod learning;
mod listen;
mod reload;
mod upkeep;

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use drain::{Hurry, drain};
use learning::Learning;
use reload::Reloader;
use upkeep::Upkeep;

use crate::admin::{self, Health};
use crate::audit::{
    EventKind, Journal, JournalError, Recovery, RejectionSum, ShedRecord, StartRecord,
};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::model::Secret;
use crate::snapshot::Snapshot;
use crate::store::{StateDir, StateError};
use crate::telemetry::Metrics;

/// The program cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A port cannot be listened on.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The gate, or the admin listener.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A thread, a runtime or a signal handler cannot be made.
    #[error("the system refuses what the program needs")]
    System(#[from] io::Error),
    /// The ready file cannot be written.
    #[error("cannot write the ready file {}", path.display())]
    ReadyFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal's disk does not answer.
    #[error(
        "the journal's disk does not answer: what it has not taken is lost; calls without an end get one at the next start"
    )]
    JournalHangs,
    /// A core's thread ended by a fault.
    #[error("a core stopped by a fault of the program")]
    CoreLost,
}

/// What runs and where, as the ready file and the first log line say it.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// The process id.
    pub pid: u32,
    /// The admin listener.
    pub admin: String,
    /// Each gate's address.
    pub gates: BTreeMap<String, String>,
}

impl Ready {
    fn of(listeners: &listen::Listeners) -> io::Result<Self> {
        let gates = listeners.gates.iter();
        Ok(Self {
            pid: std::process::id(),
            admin: listeners.admin.local_addr()?.to_string(),
            gates: gates
                .map(|gate| (gate.name.clone(), gate.address.to_string()))
                .collect(),
        })
    }
}

/// How the program is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    Running,
    /// Calls under way may end.
    Drain,
    /// At once.
    Abort,
}

/// What stands before the configuration is read: the main thread's runtime, and the handler without which a hangup would end
/// the program. One that comes from then on makes [`run`] read the configuration anew.
#[derive(Debug)]
pub struct Standby {
    runtime: tokio::runtime::Runtime,
    hangup: Signal,
}

impl Standby {
    /// Makes both.
    ///
    /// # Errors
    /// If the system refuses either.
    pub fn new() -> Result<Self, AppError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let hangup = {
            let _within = runtime.enter();
            signal(SignalKind::hangup())?
        };
        Ok(Self { runtime, hangup })
    }
}

/// Runs the gates until `stop` is ready; `again` is asked from then on, and ends the waiting for calls under way.
///
/// `text` is the configuration's text, of which the journal keeps a keyed digest; `path` is where it lies, to be read again
/// on SIGHUP and when it has changed. `ready` is called once all listen.
///
/// # Errors
/// If the program cannot start, or a core is lost.
pub fn run<S, A>(
    standby: Standby,
    config: Config,
    text: &str,
    path: Option<&Path>,
    ready: impl FnOnce(&Ready) -> Result<(), AppError>,
    signals: impl FnOnce() -> io::Result<(S, A)>,
) -> Result<(), AppError>
where
    S: Future<Output = ()>,
    A: Future<Output = ()>,
{
    let Standby {
        runtime,
        mut hangup,
    } = standby;
    let state = StateDir::open(&config.state)?;
    let key = match &config.token_id_key {
        Some(key) => crate::model::TokenIdKey::new(key),
        None => state.token_id_key()?,
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let metrics = Arc::new(assemble::metrics(&config, cores));
    let fingerprint = key.fingerprint();
    let start = start_record(&config, &state, &fingerprint);
    let listeners = listen::bind_all(&config, cores)?;
    let (journal, recovery) = Journal::open(&config.audit, &start, Arc::clone(&metrics.journal))?;
    report_recovery(&recovery);
    let policy_id = key.identify(&Secret::new(text.as_bytes())).to_string();
    let admin_tls = config.admin.tls.clone();
    let ready_text = Ready::of(&listeners)?;
    let key = Arc::new(key);
    let learning = Learning::new(&config, &state, &key, &journal, &metrics)?;
    let memory = learning.memory();
    let reloader = path.map(|path| {
        let (key, metrics) = (Arc::clone(&key), Arc::clone(&metrics));
        Reloader::new(path, text, &config, key, metrics, Arc::clone(&memory))
    });
    let assembled = assemble::assemble(config, &key, &metrics, &memory);
    let snapshots = Arc::clone(&assembled.snapshots);
    let mut reloader = reloader.map(|make| make(snapshots, Arc::clone(&assembled.budget)));
    reload::loaded(&journal, &metrics, &assembled.snapshots.load(), &policy_id);
    let upkeep = Arc::new(Upkeep::new(Arc::clone(&metrics)));
    let (stop, stopping) = watch::channel(Stop::Running);
    let aborting = Arc::new(AtomicBool::new(false));
    let threads = core::start(
        &assembled,
        listeners.gates,
        &journal,
        &metrics,
        &aborting,
        &stopping,
    )?;
    let snapshots = Arc::clone(&assembled.snapshots);
    let health = Arc::new(Health::new(Arc::clone(&metrics), snapshots));
    let result = runtime.block_on(async {
        let (stop_asked, abort_asked) = signals()?;
        let admin = admin::serve(listeners.admin, admin_tls, Arc::clone(&health))?;
        let admin = tokio::spawn(admin);
        tokio::spawn(admin::serve_socket(&state.socket(), Arc::clone(&health))?);
        learning.start(&assembled.snapshots, &upkeep, &metrics);
        ready(&ready_text)?;
        tracing::info!(admin = ready_text.admin, gates = ?ready_text.gates, "ready");
        let mut lost = pin!(threads.lost());
        let mut stop_asked = pin!(stop_asked);
        let mut watch = tokio::time::interval(reload::WATCH);
        loop {
            let asked = tokio::select! {
                () = &mut stop_asked => break,
                () = &mut lost => return Err(AppError::CoreLost),
                _ = hangup.recv() => true,
                _ = watch.tick() => false,
            };
            turned_away(&journal, &metrics, &assembled.snapshots.load());
            if let Some(reloader) = &mut reloader
                && (asked || reloader.has_changed())
            {
                reloader.reload(&journal);
            }
        }
        health.stopping();
        stop.send_replace(Stop::Drain);
        let grace = assembled.snapshots.load().limits.grace;
        let hurry = Hurry::new(grace, abort_asked);
        let hurry = drain(threads.drained(), hurry).await;
        admin.abort();
        if threads.is_one_lost() {
            return Err(AppError::CoreLost);
        }
        Ok(hurry)
    });
    aborting.store(true, Ordering::Relaxed);
    stop.send_replace(Stop::Abort);
    threads.join();
    turned_away(&journal, &metrics, &assembled.snapshots.load());
    runtime.block_on(upkeep.end(&assembled.snapshots.load_full()));
    // The cores are gone: what they left for the journal is queued, and the journal writes it before it closes.
    let (hurry, failed) = match result {
        Ok(hurry) => (hurry, None),
        Err(error) => (None, Some(error)),
    };
    let closed = runtime.block_on(journal.close(Hurry::come(hurry)));
    drop(state);
    failed.map_or(Ok(()), Err)?;
    if !closed {
        return Err(AppError::JournalHangs);
    }
    tracing::info!("stopped");
    Ok(())
}

fn start_record<'r>(
    config: &'r Config,
    state: &'r StateDir,
    token_key: &'r str,
) -> StartRecord<'r> {
    let gates = config.gates.iter();
    StartRecord {
        stream: state.stream(),
        token_key,
        guarantee: config.guarantee,
        catalogues: gates
            .map(|gate| (gate.vendor.name(), gate.catalogue.version()))
            .collect(),
    }
}

/// Writes the ready file in one step: whoever sees it sees all of it.
///
/// # Errors
/// If it cannot be written.
pub fn write_ready_file(path: &Path, ready: &Ready) -> Result<(), AppError> {
    let failed = |source| AppError::ReadyFile {
        path: path.to_owned(),
        source,
    };
    let beside = path.with_extension("new");
    let text = serde_json::to_string(ready).map_err(|error| failed(io::Error::other(error)))?;
    fs::write(&beside, text + "\n")
        .and_then(|()| fs::rename(&beside, path))
        .map_err(failed)
}

/// Waits for SIGTERM or SIGINT, and for the second of them.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn signals() -> io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let (send, receive) = watch::channel(0_u8);
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            send.send_modify(|count| *count = count.saturating_add(1));
        }
    });
    let wait = |mut receive: watch::Receiver<u8>, count| async move {
        // The sender lives as long as the runtime.
        let _ = receive.wait_for(|seen| *seen >= count).await;
    };
    Ok((wait(receive.clone(), 1), wait(receive, 2)))
}

/// Sums up what the gates have turned away since this was done last.
fn turned_away(journal: &Journal, metrics: &Metrics, snapshot: &Snapshot) {
    for (position, gate) in snapshot.gates.iter().enumerate() {
        let measured = metrics.gate(position);
        for (reason, count) in measured.iter().flat_map(|gate| gate.rejections.take()) {
            let record = RejectionSum {
                time: Timestamp::now(),
                gate: gate.text(),
                reason,
                count,
            };
            journal.append(EventKind::CallRejected, |out| record.write(out));
        }
        let (calls, connections) = metrics.take_shed(position, &gate.name);
        if calls + connections > 0 {
            let record = ShedRecord {
                time: Timestamp::now(),
                gate: gate.text(),
                calls,
                connections,
            };
            journal.append(EventKind::CallShed, |out| record.write(out));
        }
    }
}

fn report_recovery(recovery: &Recovery) {
    if recovery.cut_bytes > 0 || !recovery.open.is_empty() {
        tracing::warn!(
            cut_bytes = recovery.cut_bytes,
            open_decisions = recovery.open.len(),
            "the journal was left open; it is repaired, and says so"
        );
    }
}

/// A moment for what ends by itself.
pub(crate) const MOMENT: Duration = Duration::from_millis(100);
