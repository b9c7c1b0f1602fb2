//! `[[gate.grant]]`: declared grants.

use super::gate::known_scopes;
use super::section::Section;
use crate::catalogue::Catalogue;
use crate::model::{Grant, Holding, Secret};
use crate::vendor::Vendor;

/// A declared grant. The token is wiped once its id is known.
#[derive(Debug)]
pub struct GrantConfig {
    /// The token's bytes.
    pub token: Secret<'static>,
    /// Its scopes.
    pub scopes: Holding,
    /// The vendor's user behind it.
    pub user: Option<Box<str>>,
    /// When it expires, in seconds since 1970; [`Grant::NEVER`] if it does not.
    pub expires: u32,
}

/// Reads a gate's declared grants; `None` if one cannot be used, with the problems noted.
pub(super) fn grants(
    section: &Section<'_, '_>,
    vendor: Option<Vendor>,
    catalogue: Option<&Catalogue>,
) -> Option<Vec<GrantConfig>> {
    let grants: Vec<Option<GrantConfig>> = section
        .tables("grant")
        .iter()
        .map(|grant| self::grant(grant, vendor, catalogue))
        .collect();
    grants.into_iter().collect()
}

fn grant(
    section: &Section<'_, '_>,
    vendor: Option<Vendor>,
    catalogue: Option<&Catalogue>,
) -> Option<GrantConfig> {
    let token = section.required_secret("token");
    let scopes = if section.is_there("scopes") {
        section.strings("scopes")
    } else {
        Vec::new()
    };
    if let (Some(vendor), Some(catalogue)) = (vendor, catalogue) {
        known_scopes(section, vendor, catalogue, &scopes);
    }
    let user = section.string("user").map(|user| user.value.into());
    let expires = match section.string("expires") {
        None => Grant::NEVER,
        Some(text) => {
            if let Ok(time) = text.value.parse::<jiff::Timestamp>() {
                u32::try_from(time.as_second().max(0)).unwrap_or(Grant::NEVER)
            } else {
                let hint = "write a time as in RFC 3339: \"2027-01-31T12:00:00Z\"";
                section.problem_at(&text.span, "`expires` is no time", hint);
                Grant::NEVER
            }
        }
    };
    section.finish();
    let token = Secret::new(token?.value.into_bytes());
    Some(GrantConfig {
        token,
        scopes: vendor?.holding(catalogue?, scopes.iter().map(|scope| scope.value)),
        user,
        expires,
    })
}
