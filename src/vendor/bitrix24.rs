//! Bitrix24: how a portal, which is PHP behind nginx, reads a request; and what it answers.
//!
//! The rules come from the vendor's documentation, from public copies of the portal's code and from PHP itself. Where
//! the portal could read a request in two ways, the reader says so and the call is refused.

mod field;
mod form;
mod json;
mod number;
mod parameter;
mod read;
mod refusal;
mod target;
mod utf8;

pub use read::Reader;
pub(super) use refusal::refuse;
pub(super) use target::redact_path;
