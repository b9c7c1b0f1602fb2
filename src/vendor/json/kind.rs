//! Kinds of values.

/// What a value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vendor) enum Kind {
    Object,
    Array,
    Text,
    Number,
    True,
    False,
    Null,
}
