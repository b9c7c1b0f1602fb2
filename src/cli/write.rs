//! `write`: what the program knows of itself, as files for editors, shells and package builders.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{CommandFactory as _, Subcommand};
use clap_complete::Shell;

use super::output::{say, say_json};
use super::{OK, Program};
use crate::config;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// A configuration to begin with
    Config,
    /// The configuration's JSON Schema, with which editors complete and check
    Schema,
    /// Completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Manual pages, one for the program and one for each command
    Man {
        /// The directory that they are written to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// The configuration that is shipped.
const START: &str = include_str!("../../config/grantgate.toml");

pub(super) fn run(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Config => say(START.trim_end()),
        Command::Schema => say_json(&config::schema()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Program::command(), "grantgate", &mut script);
            let _ = std::io::stdout().lock().write_all(&script);
        }
        Command::Man { out } => {
            std::fs::create_dir_all(out)
                .and_then(|()| clap_mangen::generate_to(Program::command(), out))
                .with_context(|| format!("cannot write manual pages to {}", out.display()))?;
            say(&format!("manual pages are in {}", out.display()));
        }
    }
    Ok(OK)
}
