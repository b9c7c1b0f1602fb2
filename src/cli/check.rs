//! `check`: validates a configuration and says what would run.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::output::{complain, say, say_json};
use super::{ConfigArgument, OK, USAGE};
use crate::config::{CatalogueSource, Config, ConfigError, GateConfig, Notice};
use crate::store::{self, DiskProbe};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    valid: bool,
    errors: Vec<Notice>,
    warnings: Vec<Notice>,
    gates: Vec<GateAnswer>,
    disk: Option<DiskProbe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    second_disk: Option<DiskProbe>,
}

#[derive(Debug, Serialize)]
struct GateAnswer {
    name: String,
    vendor: &'static str,
    listen: String,
    tls: bool,
    upstream: String,
    authorization_server: String,
    mode: &'static str,
    guarantee: &'static str,
    grants: usize,
    assumed_scopes: Option<Vec<String>>,
    asks: bool,
    learns_with: Option<String>,
    operations: usize,
    catalogue: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    if arguments.json {
        return Ok(in_json(&arguments.config));
    }
    let (config, _) = arguments.config.load()?;
    for gate in &config.gates {
        let answer = describe(gate);
        say(&format!(
            "gate {}  {} on {}{}",
            answer.name,
            answer.vendor,
            answer.listen,
            tls_word(answer.tls)
        ));
        say(&format!(
            "  upstream   {}, tokens by {}",
            answer.upstream, answer.authorization_server
        ));
        say(&format!(
            "  mode       {}, journal {}",
            answer.mode, answer.guarantee
        ));
        say(&format!(
            "  grants     {}{}",
            answer.grants,
            assumed_words(&answer)
        ));
        say(&format!(
            "  catalogue  {} operations, {}",
            answer.operations, answer.catalogue
        ));
    }
    say(&format!(
        "admin {}{}",
        config.admin.listen,
        tls_word(config.admin.tls.is_some())
    ));
    for (dir, disk) in probe(&config)? {
        say(&format!(
            "journal {}  {}, a sync takes {} µs, {} MiB free",
            dir.display(),
            disk.file_system,
            disk.sync_us,
            disk.free_mib
        ));
        if disk.volatile {
            complain("warning: the journal lies in memory: it does not survive the machine");
        }
    }
    say("the configuration is valid");
    Ok(OK)
}

/// Tries the disk of each directory that the journal is kept in.
pub(super) fn probe(config: &Config) -> anyhow::Result<Vec<(&Path, DiskProbe)>> {
    let probe = |dir| {
        let probed = store::probe_disk(dir).with_context(|| {
            let setting = if *dir == *config.audit.dir {
                "`dir` in [state]"
            } else {
                "`second_dir` in [audit]"
            };
            let dir = dir.display();
            format!("the journal cannot be kept in {dir}: set {setting}")
        });
        Ok((dir, probed?))
    };
    config.audit.dirs().map(probe).collect()
}

fn in_json(argument: &ConfigArgument) -> u8 {
    let loaded = Config::load(&argument.config);
    let (code, answer) = match loaded {
        Ok(config) => {
            let answer = Answer {
                valid: true,
                errors: Vec::new(),
                disk: store::probe_disk(&config.audit.dir).ok(),
                second_disk: config
                    .audit
                    .second_dir
                    .as_deref()
                    .and_then(|dir| store::probe_disk(dir).ok()),
                gates: config.gates.iter().map(describe).collect(),
                warnings: config.warnings,
            };
            (OK, answer)
        }
        Err(ConfigError::Invalid { problems, .. }) => {
            let (warnings, gates) = (Vec::new(), Vec::new());
            (
                USAGE,
                Answer {
                    valid: false,
                    errors: problems,
                    warnings,
                    gates,
                    disk: None,
                    second_disk: None,
                },
            )
        }
        Err(error @ ConfigError::Unreadable { .. }) => {
            complain(&format!("error: {:#}", anyhow::Error::from(error)));
            return USAGE;
        }
    };
    say_json(&answer);
    code
}

fn describe(gate: &GateConfig) -> GateAnswer {
    let source = match &gate.catalogue_source {
        CatalogueSource::Bundled => "compiled in".to_owned(),
        CatalogueSource::Directory(dir) => format!("from {}", dir.display()),
    };
    GateAnswer {
        name: gate.name.clone(),
        vendor: gate.vendor.name(),
        listen: gate.listen.to_string(),
        tls: gate.tls.is_some(),
        upstream: gate.upstream.url.clone(),
        authorization_server: gate.authorization_server.url.clone(),
        mode: gate.rules.settings.mode.as_str(),
        guarantee: gate.guarantee.as_str(),
        grants: gate.grants.len(),
        assumed_scopes: gate
            .assumed
            .as_ref()
            .map(|scopes| scopes.granted().iter().map(str::to_owned).collect()),
        asks: gate.asking.asks,
        learns_with: gate.asking.learns_with.clone(),
        operations: gate.catalogue.operations().len(),
        catalogue: format!(
            "{source}, version {}, as of {}",
            gate.catalogue.version(),
            gate.catalogue.edition().as_of
        ),
    }
}

const fn tls_word(tls: bool) -> &'static str {
    if tls { " (TLS)" } else { "" }
}

fn assumed_words(answer: &GateAnswer) -> String {
    let learned = match &answer.learns_with {
        Some(home) => format!(", what `{home}` learns"),
        None => ", those learned".to_owned(),
    };
    match &answer.assumed_scopes {
        None if answer.asks => format!(" declared{learned}; other tokens are asked about"),
        None => format!(" declared{learned}; other tokens are unknown"),
        Some(scopes) => format!(
            " declared; other tokens are taken to hold {}",
            scopes.join(", ")
        ),
    }
}
