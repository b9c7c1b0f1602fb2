//! `serve`: runs the gates.

use std::path::PathBuf;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use super::ConfigArgument;
use super::log::Log;
use crate::app;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Write {"pid","admin","gates"} to this file once every port is open
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Write the process log as JSON
    #[arg(long)]
    log_json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let standby = app::Standby::new()?;
    let _log = Log::begin(arguments.log_json)?;
    forbid_core_file();
    let (config, text) = arguments.config.load()?;
    for (dir, probe) in super::check::probe(&config)? {
        tracing::info!(
            dir = %dir.display(),
            file_system = probe.file_system,
            sync_us = probe.sync_us,
            free_mib = probe.free_mib,
            "the journal's disk"
        );
        if probe.volatile {
            tracing::warn!("the journal lies in memory: it does not survive the machine");
        }
    }
    let ready = |ready: &app::Ready| {
        if let Some(path) = &arguments.ready_file {
            app::write_ready_file(path, ready)?;
        }
        // Nothing without NOTIFY_SOCKET; a supervisor that cannot be told stops waiting by itself.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        Ok(())
    };
    app::run(
        standby,
        config,
        &text,
        Some(arguments.config.path()),
        ready,
        app::signals,
    )?;
    Ok(super::OK)
}

/// Memory holds tokens: what a crash would leave of it on a disk is none of the journal's guarantees.
fn forbid_core_file() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Lowering a limit needs no right.
    let _ = setrlimit(Resource::Core, none);
    // Where cores go to a program the limit does not hold (core(5)). What else this takes away, the process's own files in
    // /proc, only its user and root would look at.
    let piped = std::fs::read("/proc/sys/kernel/core_pattern");
    if piped.is_ok_and(|pattern| pattern.starts_with(b"|")) {
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
