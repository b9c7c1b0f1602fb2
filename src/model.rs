//! The nouns: what a call, a credential, a grant, a requirement and a decision are, with their invariants.
//!
//! Standard terms of RFC 6749, 6750 and NIST SP 800-162; the lexicon in the crate's documentation has one line for
//! each. Nothing here reads, waits, logs or knows a vendor.

mod batch;
mod call;
mod credential;
mod decision;
mod grant;
mod operation;
mod pattern;
mod reason;
mod scope;
mod token;
mod trace;

pub use batch::{Batch, Layout, Member};
pub use call::{
    AnswerShape, ApiVersion, Asked, Call, Fault, Inspected, OPERATION_NAME_CAP, Server, Verbs,
    cap_name,
};
pub use credential::{
    Credential, CredentialKind, CredentialRead, Location, NoTokenId, Secret, TokenId, TokenIdKey,
};
pub use decision::{Decision, DecisionWord, Mode, Outcome, Verdict};
pub use grant::{Grant, GrantSource, GrantView, LastUse, Standing, Subject};

pub use operation::{Access, Condition, Confidence, Operation, Provenance, Requirement};
pub use pattern::{Pattern, edit_distance};
pub use reason::Reason;
pub use scope::{Holding, ScopeSet};
pub use token::{Finding, GrantType, TokenAnswer, TokenPurpose, TokenRequest};
pub use trace::TraceParent;
