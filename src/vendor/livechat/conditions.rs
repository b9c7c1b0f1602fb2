//! Conditions on what a request says: `role?`, `awaiting_approval=false`, `{account_id}` that is not `me`.

use std::borrow::Cow;

use super::payload::Said;
use crate::catalogue::Catalogue;
use crate::model::{Asked, Condition, Operation, Requirement};
use crate::vendor::decode::decode;
use crate::vendor::json::Kind;

/// What a condition may look at.
pub(super) struct Request<'q> {
    /// The path's parameters, in the order of the template.
    pub(super) values: &'q [&'q str],
    /// The query, without the question mark.
    pub(super) query: &'q str,
}

/// The name of the conditions of an action, where it has some.
pub(super) fn of(operation: &Operation) -> Option<&str> {
    let Requirement::Conditional(alternatives) = &operation.requirement else {
        return None;
    };
    alternatives.iter().find_map(Condition::name)
}

/// True if one of the conditions of an action looks at its body.
pub(super) fn look_at_body(catalogue: &Catalogue, operation: &Operation) -> bool {
    of(operation).is_some_and(|name| {
        let mut rows = catalogue.choices_of(name).iter();
        rows.any(|row| !row.value.starts_with("query~") && !row.value.starts_with("account_id"))
    })
}

/// The action as it was called: what it always needs, and what each condition that holds adds.
pub(super) fn asked<'c>(
    catalogue: &'c Catalogue,
    operation: &'c Operation,
    request: &Request<'_>,
    said: &Said,
) -> Asked<'c> {
    let Some(name) = of(operation) else {
        return Asked::Listed(operation);
    };
    let mut need: Option<Cow<'c, Requirement>> =
        catalogue.choose(operation, None).map(Cow::Borrowed);
    let rows = catalogue.choices_of(name).iter();
    for row in rows.filter(|row| holds(&row.value, request, said)) {
        need = need.map(|need| {
            if row.requirement.implies(&need) {
                Cow::Borrowed(&row.requirement)
            } else {
                Cow::Owned(need.and(&row.requirement))
            }
        });
    }
    Asked::Chosen { operation, need }
}

/// True if the condition holds. A member that decides and has an unexpected value is taken for the case that needs more.
fn holds(condition: &str, request: &Request<'_>, said: &Said) -> bool {
    if let Some(word) = condition.strip_prefix("query~") {
        let mut query = Vec::new();
        decode(request.query.as_bytes(), &mut query);
        let query = String::from_utf8_lossy(&query).to_ascii_lowercase();
        // What is still escaped may be decoded once more.
        return query.contains(word) || query.contains('%');
    }
    if condition == "account_id!=me" {
        return request.values.first() != Some(&"me");
    }
    if let Some(name) = condition.strip_suffix('?') {
        return said.get(name).is_some();
    }
    // `=`: needed where the member says the word; `!=`: where it says anything else. What is no plain `true`, `false` or
    // text may be taken for either.
    let (name, word, denied) = match (condition.split_once("!="), condition.split_once('=')) {
        (Some((name, word)), _) => (name, word, true),
        (None, Some((name, word))) => (name, word, false),
        (None, None) => return true,
    };
    let Some((kind, value)) = said.get(name) else {
        return false;
    };
    let switch = matches!(word, "true" | "false");
    let plain = match kind {
        Kind::True | Kind::False => switch,
        Kind::Text => !switch,
        _ => false,
    };
    !plain || (value == word) != denied
}
