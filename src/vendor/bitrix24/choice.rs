//! Operations whose need hangs on a parameter: what to look for, and what was chosen.

use std::borrow::Cow;

use super::name::{Choice, Watch};
use super::value::Value;
use crate::catalogue::Catalogue;
use crate::model::{ApiVersion, Asked, Condition, Fault, Operation, Reason, Requirement, cap_name};

/// The parameters that an operation makes the reader look for.
pub(super) fn watch_for(operation: &Operation) -> Watch {
    Watch {
        commands: false,
        items: false,
        choice: parameter_of(operation).and_then(|(name, optional)| match (name, optional) {
            ("moduleId", _) => Some(Choice::Module),
            ("event", false) => Some(Choice::Event),
            ("event", true) => Some(Choice::EventName),
            ("PLACEMENT", _) => Some(Choice::Placement),
            ("hcm", _) => Some(Choice::Hcm),
            _ => None,
        }),
        handler: operation.name.eq_ignore_ascii_case("event.bind"),
        select: operation.version == ApiVersion::V3 && !is_batch(&operation.name),
    }
}

/// Why a batch in a batch stays closed: the portal refuses it, older ones run it.
pub(super) const NESTED: &str = "a batch within a batch";

/// The value that a need hangs on can be read in more than one way.
pub(super) const UNCLEAR: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "the parameter that the method's need hangs on stands more than once, or is no text",
};

/// A field of another object is asked for, through a method that is not named.
pub(super) const REACHES: &str = "`select` reaches into another object";

/// True for the name of the method that runs several.
pub(super) fn is_batch(name: &str) -> bool {
    name.eq_ignore_ascii_case("batch")
}

/// True for operations that only a token which the portal signed itself calls.
pub(super) fn is_signed(operation: &Operation) -> bool {
    parameter_of(operation).is_some_and(|(name, _)| name == "token")
}

/// What was read beside names.
#[derive(Default)]
pub(super) struct Values {
    pub(super) choice: Value,
    pub(super) signed: Value,
    pub(super) handler: Value,
}

impl Values {
    pub(super) const fn are_absent(&self) -> bool {
        self.choice.is_absent() && self.signed.is_absent() && self.handler.is_absent()
    }
}

/// The operation with this name, as it was called.
pub(super) fn asked<'c>(
    catalogue: &'c Catalogue,
    version: ApiVersion,
    name: &str,
    values: Option<&Values>,
) -> Asked<'c> {
    asked_as(
        catalogue,
        catalogue.find(version, name),
        (version, name),
        values,
    )
}

/// As [`asked`], of an operation that was looked up before.
pub(super) fn asked_as<'c>(
    catalogue: &'c Catalogue,
    found: Option<&'c Operation>,
    (version, name): (ApiVersion, &str),
    values: Option<&Values>,
) -> Asked<'c> {
    let Some(operation) = found else {
        return Asked::Unlisted {
            version,
            name: cap_name(name),
            assumed: catalogue.assume(version, name),
        };
    };
    if !matches!(operation.requirement, Requirement::Conditional(_)) {
        return Asked::Listed(operation);
    }
    let need = if is_signed(operation) {
        let token = values.and_then(|values| values.signed.text());
        let scope = token.and_then(signed_scope);
        scope.and_then(|scope| catalogue.choose(operation, Some(scope)))
    } else if values.is_none_or(|values| values.choice.is_absent()) {
        catalogue.choose(operation, None)
    } else {
        let value = values.and_then(|values| values.choice.text());
        value.and_then(|value| catalogue.choose(operation, Some(value)))
    };
    Asked::Chosen {
        operation,
        need: need.map(Cow::Borrowed),
    }
}

/// The scope of a token that the portal signed: `SCOPE|QUERY|SIGNATURE`. Whatever else PHP would call empty or not a
/// token at all, so that the method might run as any other.
fn signed_scope(token: &str) -> Option<&str> {
    let mut parts = token.split('|');
    let (scope, query, signature) = (parts.next()?, parts.next()?, parts.next()?);
    (!query.is_empty() && !signature.is_empty() && parts.next().is_none()).then_some(scope)
}

fn parameter_of(operation: &Operation) -> Option<(&str, bool)> {
    let Requirement::Conditional(conditions) = &operation.requirement else {
        return None;
    };
    conditions
        .iter()
        .find(|condition| condition.name().is_some())
        .and_then(|condition| Some((Condition::name(condition)?, condition.is_optional())))
}

/// The host that a handler's address names: all of it that a record shows, since the rest may hold secrets.
pub(super) fn handler_host(value: &Value) -> Option<Box<str>> {
    let address = value.text()?;
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let fits = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    (!host.is_empty() && fits).then(|| host.chars().take(255).collect())
}
