//! `serve`: runs the gates.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::ConfigArgument;
use crate::app;
use crate::store;

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
    init_log(arguments.log_json);
    let (config, text) = arguments.config.load()?;
    let probe = store::probe_disk(&config.audit.dir)?;
    tracing::info!(
        file_system = probe.file_system,
        sync_us = probe.sync_us,
        free_mib = probe.free_mib,
        "the journal's disk"
    );
    if probe.volatile {
        tracing::warn!("the journal lies in memory: it does not survive the machine");
    }
    let ready = |ready: &app::Ready| match &arguments.ready_file {
        Some(path) => app::write_ready_file(path, ready),
        None => Ok(()),
    };
    app::run(
        config,
        &text,
        Some(arguments.config.path()),
        ready,
        app::signals,
    )?;
    Ok(super::OK)
}

/// The process log goes to stderr; `RUST_LOG` chooses the level, `info` without it.
pub(super) fn init_log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours);
    // A second initialisation, as in tests, changes nothing.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
}
