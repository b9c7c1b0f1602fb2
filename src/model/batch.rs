//! A batch: several operations in one request.

use std::ops::Range;

use super::Asked;

/// Several operations in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<'c> {
    /// The members, in the order in which the vendor would run them.
    pub members: Vec<Member<'c>>,
    /// True if the vendor stops at the first member that fails.
    pub halt: bool,
    /// How the members stand in the request; `None` where some cannot be taken out and the rest sent on.
    pub layout: Option<Layout>,
}

/// One operation of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'c> {
    /// The key under which the vendor answers it.
    pub key: Box<str>,
    /// The operation.
    pub asked: Asked<'c>,
    /// Positions of the members whose answers it refers to.
    pub refers: Vec<u16>,
    /// Where it stands, with its name: bytes of the body, or of the query.
    pub at: Range<u64>,
    /// Where its name stands, if the name leaves the key to be counted: once others are gone it must say it.
    pub uncounted: Option<Range<u64>>,
}

/// How the members of a batch stand in a request: what is needed to take some of them out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Pairs of the query, each with its own name.
    Query,
    /// Pairs of a form, each with its own name.
    Pairs,
    /// Parts of a multipart form, each with its own name.
    Parts,
    /// Members of a JSON object whose braces stand here.
    Object(Range<u64>),
    /// Elements of a JSON array whose brackets stand here: their keys are their positions.
    Array(Range<u64>),
}
