//! The commands, one file each. People's output goes to stdout, errors as one chain of causes to stderr.

mod audit;
mod catalogue;
mod certs;
mod check;
mod demo;
mod emulate;
mod explain;
mod grants;
mod log;
mod output;
mod serve;
mod version;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, DEFAULT_PATH};
use crate::telemetry::log::without_waiting_long;
use output::{complain, complain_folded};

/// Exit codes: all is well, no, and a wrong use or configuration.
const OK: u8 = 0;
const NO: u8 = 1;
const USAGE: u8 = 2;

/// A reverse proxy that refuses API calls outside the OAuth scopes of their token.
///
/// Put it between an app and Bitrix24, RingCentral or LiveChat, point the app's base URL at it, and calls outside the
/// token's scopes are refused in the vendor's own words, and written to a journal that shows every verdict.
///
/// Try `grantgate demo` first.
#[derive(Debug, Parser)]
#[command(name = "grantgate", version, long_version = version::long(), max_term_width = 80)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gates
    Serve(serve::Arguments),
    /// Validate a configuration and say what would run
    ///
    /// It makes the journal's directory and tries its disk, as `serve` would.
    #[command(after_help = "Exits with 0 if it can be run, 2 if not.")]
    Check(check::Arguments),
    /// See it work: three emulated vendors, a gate before each, an app, its calls and their verdicts
    Demo,
    /// Run an emulated vendor alone
    Emulate(emulate::Arguments),
    /// Say what an operation needs, and the verdict for a set of scopes
    ///
    /// It speaks of the catalogue that is compiled in and of the scopes that are given: rules, modes and a catalogue of
    /// one's own are the configuration's.
    #[command(
        after_help = "Exits with 0 if the verdict is permit or split, or none was asked for; 1 if it is deny; 2 if the \
                            operation cannot be told."
    )]
    Explain(explain::Arguments),
    /// List what is known of a vendor's operations and scopes
    Catalogue(catalogue::Arguments),
    /// Check, read and search the journal
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show what is known of tokens, and forget it
    #[command(subcommand)]
    Grants(grants::Command),
    /// Make a certificate authority and certificates for development
    Certs(certs::Arguments),
    /// Write a first configuration, its schema, shell completions, manual pages
    #[command(subcommand)]
    Write(write::Command),
}

/// Where the configuration lies.
#[derive(Debug, Args)]
struct ConfigArgument {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let arguments = match Program::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { OK });
        }
    };
    let done = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Demo => demo::run(),
        Command::Emulate(arguments) => emulate::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Catalogue(arguments) => catalogue::run(&arguments),
        Command::Audit(command) => audit::run(&command),
        Command::Grants(command) => grants::run(&command),
        Command::Certs(arguments) => certs::run(&arguments),
        Command::Write(command) => write::run(&command),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let wrong_use = error.is::<ConfigError>() || error.is::<WrongUse>();
            let text = format!("error: {error:#}");
            without_waiting_long(move || complain_folded(&text));
            ExitCode::from(if wrong_use { USAGE } else { NO })
        }
    }
}

/// The arguments ask for something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUse(String);

impl ConfigArgument {
    /// Where the configuration lies.
    fn path(&self) -> &std::path::Path {
        &self.config
    }

    /// Reads the configuration and shows its warnings; its text comes with it.
    fn load(&self) -> Result<(Config, String), ConfigError> {
        let text =
            std::fs::read_to_string(&self.config).map_err(|source| ConfigError::Unreadable {
                path: self.config.clone(),
                source,
            })?;
        let config = Config::parse(&self.config, &text)?;
        for warning in &config.warnings {
            complain(&format!("warning: {warning}\n"));
        }
        Ok((config, text))
    }
}
