//! `[[gate]]`: one entrance.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::LimitsSection;
use super::asking::{AskingConfig, unknown_token};
use super::document::Placed;
use super::grant::{GrantConfig, grants};
use super::journal::{GUARANTEES, can_be_best_effort};
use super::learns_with;
use super::place::{Upstream, leads_to, tls, upstream};
use super::section::{Section, printable};
use crate::audit::{Guarantee, OnAuditFailure};
use crate::catalogue::{Catalogue, CatalogueText};
use crate::model::{Holding, Mode, Pattern};
use crate::policy::{self, BatchPolicy, Effect, Rule, Rules, SignedLinks, UnlistedOperation};
use crate::snapshot::Redirects;
use crate::tls::Acceptor;
use crate::vendor::Vendor;

/// One gate as it is to be run.
#[derive(Debug)]
pub struct GateConfig {
    /// Its name.
    pub name: String,
    /// The calling app in the records.
    pub app: String,
    /// The dialect.
    pub vendor: Vendor,
    /// Where it listens.
    pub listen: SocketAddr,
    /// TLS, if it is on.
    pub tls: Option<Acceptor>,
    /// Where its calls go.
    pub upstream: Upstream,
    /// Where its token traffic goes.
    pub authorization_server: Upstream,
    /// Mode and rules.
    pub rules: Rules,
    /// The scopes that every token holds that is not known better.
    pub assumed: Option<Holding>,
    /// How it comes to know of tokens that nobody declared.
    pub asking: AskingConfig,
    /// The only values of `Host` that it answers for; empty for any.
    pub hosts: Vec<String>,
    /// How a decision is kept before the deed.
    pub guarantee: Guarantee,
    /// What becomes of an upstream redirect to another authority.
    pub redirects: Redirects,
    /// Declared grants.
    pub grants: Vec<GrantConfig>,
    /// What is known of the vendor's operations.
    pub catalogue: Arc<Catalogue>,
    /// Where the catalogue comes from.
    pub catalogue_source: CatalogueSource,
}

/// Where a catalogue comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogueSource {
    /// It is compiled in.
    Bundled,
    /// It was read from this directory.
    Directory(PathBuf),
}

/// What gates have in common.
pub(super) struct Common<'l> {
    pub(super) guarantee: Guarantee,
    pub(super) on_audit_failure: OnAuditFailure,
    pub(super) limits: &'l LimitsSection,
    pub(super) catalogue_dir: Option<PathBuf>,
}

const MODES: [(&str, Mode); 3] = [
    ("enforce", Mode::Enforce),
    ("report", Mode::Report),
    ("off", Mode::Off),
];

const UNLISTED: [(&str, UnlistedOperation); 3] = [
    ("refuse", UnlistedOperation::Refuse),
    ("prefix", UnlistedOperation::Prefix),
    ("forward", UnlistedOperation::Forward),
];

const BATCH: [(&str, BatchPolicy); 2] = [
    ("split", BatchPolicy::Split),
    ("reject", BatchPolicy::Reject),
];

const SIGNED_LINKS: [(&str, SignedLinks); 2] = [
    ("refuse", SignedLinks::Refuse),
    ("forward", SignedLinks::Forward),
];

/// Reads one gate; `None` if it cannot be run, with the problems noted.
pub(super) fn read(section: &Section<'_, '_>, common: &Common<'_>) -> Option<GateConfig> {
    let name = section.required("name").filter(|name| named(section, name));
    let vendors = Vendor::ALL.map(|vendor| (vendor.name(), vendor));
    let vendor = if section.is_there("vendor") {
        section.choice("vendor", &vendors)
    } else {
        None
    };
    let listen = section.address("listen");
    let tls = section.table("tls").map(|table| tls(&table, true));
    let places = upstream(section, vendor, common.limits);
    let mode = section.choice("mode", &MODES).unwrap_or_default();
    let (unknown_token, assumed, asking) = unknown_token(section, vendor, common.limits);
    let settings = policy::Settings {
        mode,
        unknown_token,
        unlisted_operation: section
            .choice("unlisted_operation", &UNLISTED)
            .unwrap_or_default(),
        batch: section.choice("batch", &BATCH).unwrap_or_default(),
        signed_links: section
            .choice("signed_links", &SIGNED_LINKS)
            .unwrap_or_default(),
    };
    let redirects = [("refuse", Redirects::Refuse), ("pass", Redirects::Pass)];
    let redirects = section.choice("redirects", &redirects).unwrap_or_default();
    let guarantee = section
        .choice("guarantee", &GUARANTEES)
        .unwrap_or(common.guarantee);
    let on_failure = common.on_audit_failure;
    let hosts = section
        .strings("hosts")
        .into_iter()
        .map(|host| host.value.to_owned())
        .collect();
    let app = section.string("app").map(|app| app.value.to_owned());
    let (catalogue, source) = vendor
        .and_then(|vendor| catalogue(section, vendor, common))
        .unzip();
    let grants = grants(section, vendor, catalogue.as_deref());
    let rules = rules(section, catalogue.as_deref());
    if guarantee == Guarantee::BestEffort {
        can_be_best_effort(section, mode, &rules, on_failure);
    }
    if let (Some(vendor), Some(catalogue), Some(assumed)) = (vendor, &catalogue, &assumed) {
        known_scopes(section, vendor, catalogue, assumed);
    }
    section.finish();
    let (name, vendor, catalogue) = (name?.value, vendor?, catalogue?);
    let (upstream, authorization_server) = places?;
    let operations = catalogue.operations();
    Some(GateConfig {
        name: name.to_owned(),
        app: app.unwrap_or_else(|| name.to_owned()),
        vendor,
        listen: listen?,
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
        upstream,
        authorization_server,
        rules: Rules::new(settings, rules, operations),
        assumed: assumed
            .map(|scopes| vendor.holding(&catalogue, scopes.iter().map(|scope| scope.value))),
        asking,
        hosts,
        guarantee,
        redirects,
        grants: grants?,
        catalogue: Arc::clone(&catalogue),
        catalogue_source: source?,
    })
}

/// Checks what one gate alone cannot show: names and addresses taken twice, and gates that lead into themselves.
pub(super) fn check_together(
    sections: &[Section<'_, '_>],
    gates: &[GateConfig],
    admin: Option<SocketAddr>,
) {
    for (position, (section, gate)) in sections.iter().zip(gates).enumerate() {
        let before = gates.get(..position).unwrap_or_default();
        if before.iter().any(|other| other.name == gate.name) {
            section.problem(
                format!("two gates are named `{}`", gate.name),
                "names tell gates apart in records",
            );
        }
        let taken = |other: SocketAddr| other.port() != 0 && other == gate.listen;
        if before.iter().any(|other| taken(other.listen)) || admin.is_some_and(taken) {
            section.problem(
                format!("{} is listened on already", gate.listen),
                "give each listener its own port",
            );
        }
        learns_with::check(section, gate, gates);
        for (name, place) in [
            ("upstream", &gate.upstream),
            ("authorization_server", &gate.authorization_server),
        ] {
            let leads_here = |other: &GateConfig| leads_to(&place.settings, other.listen);
            // Where nothing is said, a rehearsal's upstream is both.
            let said = name == "upstream" || place.url != gate.upstream.url;
            if said && gates.iter().any(leads_here) {
                section.problem(
                    format!("the {name} {} is a gate of this configuration", place.url),
                    format!(
                        "calls would go round in a circle; `{name}` is the vendor's own address"
                    ),
                );
            }
        }
    }
}

fn named(section: &Section<'_, '_>, name: &Placed<&str>) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let named = !name.value.is_empty() && name.value.len() <= 64 && name.value.chars().all(fits);
    if !named {
        section.problem_at(
            &name.span,
            "`name` is no name",
            "use letters, digits, `-`, `_` and `.`, at most 64",
        );
    }
    named
}

fn catalogue(
    section: &Section<'_, '_>,
    vendor: Vendor,
    common: &Common<'_>,
) -> Option<(Arc<Catalogue>, CatalogueSource)> {
    let Some(dir) = &common.catalogue_dir else {
        let catalogue = Catalogue::parse(vendor.bundled_catalogue());
        return catalogue
            .ok()
            .map(|catalogue| (Arc::new(catalogue), CatalogueSource::Bundled));
    };
    let dir = dir.join(vendor.name());
    // A table that the vendor's bundled catalogue does without need not be there.
    let bundled = vendor.bundled_catalogue();
    let read = |file: &str, bundled: &str| {
        let path = dir.join(file);
        section.document.depends_on(&path);
        if bundled.is_empty() && !path.exists() {
            return Ok(String::new());
        }
        fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let parsed = read("operations.tsv", bundled.operations).and_then(|operations| {
        let scopes = read("scopes.tsv", bundled.scopes)?;
        let choices = read("choices.tsv", bundled.choices)?;
        let prefixes = read("prefixes.tsv", bundled.prefixes)?;
        let routes = read("routes.tsv", bundled.routes)?;
        let text = CatalogueText {
            operations: &operations,
            scopes: &scopes,
            choices: &choices,
            prefixes: &prefixes,
            routes: &routes,
        };
        Catalogue::parse(text).map_err(|error| format!("{}: {error}", dir.display()))
    });
    match parsed {
        Ok(catalogue) => Some((Arc::new(catalogue), CatalogueSource::Directory(dir))),
        Err(problem) => {
            section.problem(
                problem,
                "see `catalogue_dir`; without it the compiled-in catalogue is used",
            );
            None
        }
    }
}

/// Warns of scope codes that the vendor is not known to have: a typing error opens nothing, and says nothing.
pub(super) fn known_scopes(
    section: &Section<'_, '_>,
    vendor: Vendor,
    catalogue: &Catalogue,
    scopes: &[Placed<&str>],
) {
    for scope in scopes
        .iter()
        .filter(|scope| !catalogue.has_scope(vendor.scope_code(scope.value)))
    {
        let message = format!("the catalogue knows no scope `{}`", printable(scope.value));
        section.warning_at(
            &scope.span,
            message,
            "see `grantgate catalogue` for the codes; it opens nothing",
        );
    }
}

fn rules(section: &Section<'_, '_>, catalogue: Option<&Catalogue>) -> Vec<Rule> {
    section
        .tables("rule")
        .iter()
        .filter_map(|rule| self::rule(rule, catalogue))
        .collect()
}

fn rule(section: &Section<'_, '_>, catalogue: Option<&Catalogue>) -> Option<Rule> {
    let patterns = section.strings("operations");
    if patterns.is_empty() {
        section.problem(
            "a rule without `operations`",
            "list names or patterns: operations = [\"crm.*.delete\"]",
        );
    }
    let operations = patterns
        .iter()
        .map(|text| {
            let pattern = Pattern::new(text.value);
            if catalogue.is_some_and(|catalogue| !catalogue.any_matches(&pattern)) {
                let message = format!(
                    "no operation of the catalogue fits `{}`",
                    printable(text.value)
                );
                section.problem_at(
                    &text.span,
                    message,
                    "see `grantgate catalogue` for the names",
                );
            }
            pattern
        })
        .collect();
    let refuse = section.choice("effect", &[("refuse", Effect::Refuse)]);
    let mode = section.choice("mode", &MODES).map(Effect::Mode);
    let effect = match (section.has("effect"), section.has("mode")) {
        (true, false) => refuse,
        (false, true) => mode,
        _ => {
            section.problem(
                "a rule has an `effect` or a `mode`, never both",
                "write effect = \"refuse\", or mode = \"report\" | \"enforce\" | \"off\"",
            );
            None
        }
    };
    section.finish();
    Some(Rule {
        operations,
        effect: effect?,
    })
}
