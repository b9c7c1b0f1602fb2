//! LiveChat: actions told by path and version, conditions that stand in the request, batches judged per element, and
//! refusals in the words of each of its APIs.
//!
//! The rules come from the vendor's public documentation and its SDKs. Where two versions or identities are named, or
//! a member that decides stands twice, the reader says so and the call is refused.

mod conditions;
mod credentials;
mod payload;
mod place;
mod read;
mod refusal;
mod split;

pub use read::Reader;
pub(super) use refusal::refuse;
pub use split::Splicer;
pub(super) use split::{edits, nothing_left};

use crate::catalogue::Catalogue;
use crate::model::ApiVersion;
use crate::vendor::Example;

/// The request that calls an action, which is given by its name (`agent/send_event@3.6`); `None` for one that no path
/// leads to.
pub(super) fn example(catalogue: &Catalogue, operation: &str) -> Option<Example> {
    let found = catalogue.find(ApiVersion::Sole, operation)?;
    let (verb, path) = catalogue.path_of(found)?;
    let (path, headers) = match path.strip_prefix("/@2") {
        Some(path) => (path.to_owned(), vec![("x-api-version", "2")]),
        None => (path, Vec::new()),
    };
    Some(Example {
        verb,
        target: super::filled(&path),
        headers,
        wants_token: true,
    })
}

/// True for a declared `ACCOUNT:TOKEN`; what stands before the colon of an access token is a region.
pub(super) fn is_personal(token: &str) -> bool {
    let region = |before: &str| matches!(before, "dal" | "fra") || before.starts_with("fra-");
    token
        .split_once(':')
        .is_some_and(|(before, _)| !region(before))
}
