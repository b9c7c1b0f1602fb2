//! How a gate comes to know of tokens that nobody declared: `unknown_token`, `introspection`, `grant_source` and bounds.

use std::sync::Arc;
use std::time::Duration;

use super::LimitsSection;
use super::document::Placed;
use super::place;
use super::section::Section;
use crate::grants::{AskerLimits, Introspection, Precedence};
use crate::oauth::Introspector;
use crate::policy::UnknownToken;
use crate::vendor::Vendor;

/// How a gate learns.
#[derive(Debug)]
pub struct AskingConfig {
    /// True if unknown tokens are asked about.
    pub asks: bool,
    /// The authorization server that is asked in the vendor's place.
    pub introspection: Option<Arc<Introspection>>,
    /// How much asking is allowed.
    pub limits: AskerLimits,
    /// Which grant counts where a token has a declared and a learned one.
    pub precedence: Precedence,
    /// The gate whose learned grants this one shares.
    pub learns_with: Option<String>,
}

/// `assumed_scopes`, where they stand.
pub(super) type Assumed<'d> = Vec<Placed<&'d str>>;

/// The longest trust in what LiveChat said: its 26th token ends the first without a word.
const LIVECHAT_TRUST: u64 = 3600;

/// Reads what becomes of unknown tokens: for decisions, the scopes that are assumed, and how they are asked about.
pub(super) fn unknown_token<'d>(
    section: &Section<'d, '_>,
    vendor: Option<Vendor>,
    limits: &LimitsSection,
) -> (UnknownToken, Option<Assumed<'d>>, AskingConfig) {
    let words = [
        ("refuse", (UnknownToken::Refuse, Word::Plain)),
        ("assume", (UnknownToken::Refuse, Word::Assume)),
        ("ask", (UnknownToken::Refuse, Word::Ask)),
        ("forward", (UnknownToken::Forward, Word::Plain)),
    ];
    let (setting, word) = section
        .choice("unknown_token", &words)
        .unwrap_or((UnknownToken::Refuse, Word::Plain));
    let scopes = section.strings("assumed_scopes");
    let assumed = match (word, scopes.first()) {
        (Word::Assume, None) => {
            let hint =
                "list the scopes that the app is registered with: assumed_scopes = [\"crm\"]";
            section.problem(
                "`unknown_token = \"assume\"` without `assumed_scopes`",
                hint,
            );
            None
        }
        (Word::Ask | Word::Plain, Some(first)) => {
            let hint = "set unknown_token = \"assume\", or remove it";
            section.problem_at(&first.span, "`assumed_scopes` has no effect", hint);
            None
        }
        (Word::Assume, Some(_)) => Some(scopes),
        (Word::Ask | Word::Plain, None) => None,
    };
    let asks = word == Word::Ask;
    let introspection = section
        .table("introspection")
        .and_then(|table| introspection(&table, section, limits));
    if section.has("introspection") && !asks {
        section.problem(
            "`introspection` has no effect",
            "set unknown_token = \"ask\", or remove it",
        );
    }
    if asks && vendor == Some(Vendor::RingCentral) && !section.has("introspection") {
        let span = section.value("unknown_token").map(|(_, span)| span);
        section.warning_at(
            &span.unwrap_or_default(),
            "RingCentral cannot be asked what a token may do",
            "a token is known once its login has passed through this gate; else declare it, or use \"assume\"",
        );
    }
    let trust = if asks && vendor == Some(Vendor::LiveChat) {
        LIVECHAT_TRUST
    } else {
        0
    };
    let trust = section.integer_or("max_grant_age_secs", trust);
    let per_minute = section.integer("questions_per_minute");
    let deadline = section.integer("ask_secs");
    let precedence = [
        ("declared", Precedence::Declared),
        ("learned", Precedence::Learned),
        ("narrowest", Precedence::Narrowest),
    ];
    let asking = AskingConfig {
        asks,
        introspection: introspection.map(Arc::new),
        limits: AskerLimits {
            deadline: Duration::from_secs(deadline),
            per_minute: u32::try_from(per_minute).unwrap_or(u32::MAX),
            longest_trust: u32::try_from(trust).ok().filter(|trust| *trust > 0),
        },
        precedence: section
            .choice("grant_source", &precedence)
            .unwrap_or_default(),
        learns_with: section
            .string("learns_with")
            .map(|name| name.value.to_owned()),
    };
    (setting, assumed, asking)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Plain,
    Assume,
    Ask,
}

/// `introspection = { endpoint = "…", client_id = "…", client_secret = { file = "…" } }`.
fn introspection(
    section: &Section<'_, '_>,
    gate: &Section<'_, '_>,
    limits: &LimitsSection,
) -> Option<Introspection> {
    let endpoint = section.required("endpoint");
    let client_id = section.required("client_id");
    let secret = section.required_secret("client_secret");
    let settings = endpoint
        .as_ref()
        .and_then(|endpoint| place::endpoint(section, gate, endpoint, limits));
    section.finish();
    let (endpoint, client_id, secret) = (endpoint?, client_id?, secret?);
    let introspector = Introspector::new(endpoint.value, client_id.value, &secret.value)
        .map_err(|error| {
            let hint = "write the whole URL of the endpoint (RFC 7662)";
            section.problem_at(&endpoint.span, error, hint);
        })
        .ok()?;
    Some(Introspection {
        settings: Arc::new(settings?.settings),
        introspector,
    })
}
