//! The configuration: a file becomes a [`Config`] that can be run, or all that is wrong with it at once.

mod asking;
mod document;
mod files;
mod gate;
mod grant;
mod journal;
mod learns_with;
mod place;
mod report;
mod secret;
mod section;
mod settings;
mod shared;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use asking::AskingConfig;
pub use files::Files;
pub use gate::{CatalogueSource, GateConfig};
pub use grant::GrantConfig;
pub use place::Upstream;
pub use report::{ConfigError, Notice};
pub(crate) use settings::schema;
#[cfg(test)]
pub(crate) use settings::settings_page;

use crate::audit::{self, Guarantee};
use crate::snapshot::Limits;
use crate::store;
use crate::tls;
use document::Document;
use gate::Common;
use section::Section;

/// Where the configuration lies unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "config/grantgate.toml";

/// A configuration that can be run.
#[derive(Debug)]
pub struct Config {
    /// The state directory.
    pub state: store::Settings,
    /// The key behind token ids, where it is given; else the state directory makes one.
    pub token_id_key: Option<Vec<u8>>,
    /// The stream by which instances tell each other what they learn.
    pub shared: Option<crate::shared::Settings>,
    /// The journal.
    pub audit: audit::Settings,
    /// The guarantee in force, unless a gate has its own.
    pub guarantee: Guarantee,
    /// The admin listener.
    pub admin: AdminConfig,
    /// Limits that all gates share.
    pub limits: Limits,
    /// How many learned grants of a gate are kept in memory.
    pub most_grants: usize,
    /// The gates.
    pub gates: Vec<GateConfig>,
    /// The other files that it was read from: secrets, certificates, catalogues.
    pub files: Files,
    /// What is not wrong and should be known.
    pub warnings: Vec<Notice>,
}

/// The admin listener.
#[derive(Debug)]
pub struct AdminConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// TLS, if it is on.
    pub tls: Option<tls::Acceptor>,
}

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// If the file cannot be read; or everything that is wrong in it, each with its place and a remedy.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Validates a configuration's text; `path` is for messages.
    ///
    /// # Errors
    /// Everything that is wrong in it, each with its place and a remedy.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let document = Document::parse(text);
        let config = Self::read(&document);
        let (problems, warnings) = document.findings(path, text);
        match config {
            Some(config) if problems.is_empty() => Ok(Self { warnings, ..config }),
            _ => Err(ConfigError::Invalid {
                problems,
                files: document.files(),
            }),
        }
    }

    /// Reads what can be read; `None` if something that nothing can stand in for is missing.
    fn read(document: &Document<'_>) -> Option<Self> {
        let root = document.root()?;
        let state_section = root.table_or_empty("state")?;
        let (state, token_id_key) = state(&state_section);
        let (audit, guarantee) = journal::journal(&root.table_or_empty("audit")?, &state);
        let admin = admin(&root.table_or_empty("admin")?);
        let limits = LimitsSection::read(&root.table_or_empty("limits")?);
        let shared = shared::shared(&state_section, token_id_key.is_some(), &limits);
        state_section.finish();
        let catalogue_dir = root
            .string("catalogue_dir")
            .map(|text| PathBuf::from(text.value));
        let common = Common {
            guarantee,
            on_audit_failure: audit.on_failure,
            limits: &limits,
            catalogue_dir,
        };
        let sections = root.tables("gate");
        if sections.is_empty() {
            root.problem(
                "no gate is configured",
                "add a [[gate]] with `name`, `vendor`, `listen` and `upstream`",
            );
        }
        // Each gate is read before the first that cannot run ends it all: one run shows everything.
        let gates: Vec<Option<GateConfig>> = sections
            .iter()
            .map(|section| gate::read(section, &common))
            .collect();
        let mut gates: Option<Vec<GateConfig>> = gates.into_iter().collect();
        gate::check_together(
            &sections,
            gates.as_deref().unwrap_or_default(),
            admin.as_ref().map(|admin| admin.listen),
        );
        learns_with::trust_alike(gates.as_deref_mut().unwrap_or_default());
        root.finish();
        Some(Self {
            state,
            token_id_key,
            shared,
            audit,
            guarantee,
            admin: admin?,
            most_grants: limits.grants,
            limits: limits.limits,
            gates: gates?,
            files: document.files(),
            warnings: Vec::new(),
        })
    }
}

fn state(section: &Section<'_, '_>) -> (store::Settings, Option<Vec<u8>>) {
    let dir = section.string("dir").map_or("var", |dir| dir.value);
    let key = section.secret("token_id_key");
    if let Some(key) = &key
        && key.value.len() < 16
    {
        section.problem_at(
            &key.span,
            "the key is shorter than 16 bytes",
            "use 32 random bytes",
        );
    }
    (
        store::Settings {
            dir: PathBuf::from(dir),
        },
        key.map(|key| key.value.into_bytes()),
    )
}

fn admin(section: &Section<'_, '_>) -> Option<AdminConfig> {
    let listen = section.address("listen");
    let tls = section
        .table("tls")
        .map(|section| place::tls(&section, false));
    section.finish();
    Some(AdminConfig {
        listen: listen?,
        tls: tls.flatten(),
    })
}

/// `[limits]`: what all gates share.
struct LimitsSection {
    limits: Limits,
    connect: Duration,
    pool_idle: Duration,
    pool_connections: usize,
    grants: usize,
}

impl LimitsSection {
    fn read(section: &Section<'_, '_>) -> Self {
        let number = |key| section.integer(key);
        let secs = |key| Duration::from_secs(number(key));
        let count = |key| u32::try_from(number(key)).unwrap_or(u32::MAX);
        let size = |key| usize::try_from(number(key)).unwrap_or(usize::MAX);
        let read = Self {
            limits: Limits {
                inspected_body: number("inspected_body_mib") << 20,
                inspected_total: number("inspected_total_mib") << 20,
                connections: count("connections"),
                calls_in_flight: count("calls_in_flight"),
                calls_per_token: count("calls_per_token"),
                head: size("head_kib") << 10,
                head_timeout: secs("head_secs"),
                body_idle: secs("body_idle_secs"),
                body_total: secs("body_secs"),
                first_byte: secs("first_byte_secs"),
                grace: secs("grace_secs"),
                answer_idle: secs("answer_idle_secs"),
                answer_total: secs("answer_secs"),
            },
            connect: secs("connect_secs"),
            pool_idle: secs("pool_idle_secs"),
            pool_connections: size("pool_idle_connections"),
            grants: size("grants"),
        };
        if read.limits.inspected_total < read.limits.inspected_body {
            section.problem(
                "`inspected_total_mib` is smaller than `inspected_body_mib`",
                "no body of the permitted size would ever fit",
            );
        }
        section.finish();
        read
    }
}
