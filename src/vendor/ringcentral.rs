//! RingCentral: operations told by verb and path, one permission each, and refusals in the platform's own words.
//!
//! The rules come from the vendor's specification, its developer guide and its SDKs. Where the platform could read a
//! request in two ways, or the guide does not say, the reader says so and the call is refused.

mod query;
mod read;
mod refusal;
mod subscription;
mod targets;

pub use read::Reader;
pub(super) use refusal::refuse;
