//! Bitrix24: how a portal, which is PHP behind nginx, reads a request; and what it answers.
//!
//! The rules come from the vendor's documentation, from public copies of the portal's code and from PHP itself. Where
//! the portal could read a request in two ways, the reader says so and the call is refused.

mod choice;
mod command;
mod commands;
mod form;
mod gather;
mod lazy;
mod members;
mod multipart;
mod name;
mod read;
mod reference;
mod refusal;
mod split;
mod target;
mod upload;
mod value;

pub use read::Reader;
pub(super) use refusal::refuse;
pub use split::Splicer;
pub(super) use split::{edits, nothing_left};
pub(super) use target::{example, has_credential, redact_path};
pub use upload::Watch;
