//! `catalogue`: what is known, counted and listed.

use serde::Serialize;

use super::output::{say, say_folded, say_json};
use super::{OK, WrongUse};
use crate::catalogue::{Catalogue, describe};
use crate::model::{Operation, edit_distance};
use crate::vendor::Vendor;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The vendor: bitrix24, ringcentral, livechat. Without one, all are counted
    vendor: Option<String>,
    /// Only the operations that this scope opens
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Counted {
    vendor: &'static str,
    version: String,
    as_of: String,
    operations: usize,
    scopes: usize,
}

#[derive(Debug, Serialize)]
struct Listed<'c> {
    operation: &'c str,
    api_version: &'static str,
    requirement: String,
    access: &'static str,
    deprecated: bool,
    confidence: &'static str,
    source: &'c str,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let Some(name) = &arguments.vendor else {
        if arguments.scope.is_some() {
            return Err(
                WrongUse("a scope is a vendor's: name the vendor before it".to_owned()).into(),
            );
        }
        let counted = Vendor::ALL
            .into_iter()
            .map(count)
            .collect::<anyhow::Result<Vec<_>>>()?;
        if arguments.json {
            say_json(&counted);
        } else {
            for one in counted {
                let Counted {
                    vendor,
                    version,
                    as_of,
                    operations,
                    scopes,
                } = one;
                say(&format!(
                    "{vendor:<12}{operations:>5} operations, {scopes:>3} scopes, version {version}, as of {as_of}"
                ));
            }
        }
        return Ok(OK);
    };
    let vendor = vendor(name)?;
    let catalogue = Catalogue::parse(vendor.bundled_catalogue())?;
    let operations: Vec<&Operation> = match &arguments.scope {
        None => catalogue.operations().collect(),
        Some(scope) if catalogue.has_scope(scope) => catalogue.opened_by(scope).collect(),
        Some(scope) => {
            let codes: Vec<&str> = catalogue
                .scopes()
                .iter()
                .map(|info| info.code.as_ref())
                .collect();
            let near = codes.iter().min_by_key(|code| edit_distance(code, scope));
            let hint = match near {
                Some(near) if edit_distance(near, scope) <= 2 => format!("did you mean `{near}`?"),
                _ => format!("it has {}", codes.join(", ")),
            };
            return Err(WrongUse(format!("{name} has no scope `{scope}`; {hint}")).into());
        }
    };
    if arguments.json {
        say_json(
            &operations
                .iter()
                .map(|operation| listed(operation))
                .collect::<Vec<_>>(),
        );
        return Ok(OK);
    }
    for operation in &operations {
        let version = if operation.version.is_usual() {
            ""
        } else {
            "v3:"
        };
        let name = format!("{version}{}", operation.name);
        let deprecated = if operation.deprecated {
            "  (deprecated)"
        } else {
            ""
        };
        let needs = format!("{}{deprecated}", describe(&operation.requirement));
        if name.len() <= NAMES && needs.len() <= NEEDS {
            say(&format!("{name:<NAMES$}  {needs}"));
        } else {
            say(&name);
            say_folded("    ", "    ", &needs);
        }
    }
    say(&format!("{} operations", operations.len()));
    Ok(OK)
}

/// The columns of names and of what they need, beside each other.
const NAMES: usize = 54;
const NEEDS: usize = 24;

/// The vendor with this name.
pub(super) fn vendor(name: &str) -> Result<Vendor, WrongUse> {
    Vendor::parse(name).ok_or_else(|| {
        let known: Vec<&str> = Vendor::ALL.into_iter().map(Vendor::name).collect();
        WrongUse(format!(
            "no vendor is called `{name}`; there is {}",
            known.join(", ")
        ))
    })
}

fn count(vendor: Vendor) -> anyhow::Result<Counted> {
    let catalogue = Catalogue::parse(vendor.bundled_catalogue())?;
    Ok(Counted {
        vendor: vendor.name(),
        version: catalogue.version().to_owned(),
        as_of: catalogue.edition().as_of.clone(),
        operations: catalogue.operations().len(),
        scopes: catalogue.scopes().len(),
    })
}

fn listed(operation: &Operation) -> Listed<'_> {
    Listed {
        operation: &operation.name,
        api_version: operation.version.as_str(),
        requirement: describe(&operation.requirement),
        access: operation.access.as_str(),
        deprecated: operation.deprecated,
        confidence: operation.provenance.confidence.as_str(),
        source: &operation.provenance.source,
    }
}
