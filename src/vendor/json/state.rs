//! Where within a JSON text a scanner stands.

use super::number::Number;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Before the text's own value.
    Start,
    /// Before a value.
    Value,
    /// After `[`: a value or `]`.
    FirstElement,
    /// After `{`: a name or `}`.
    FirstName,
    /// After `,` in an object: a name.
    Name,
    /// After a name: `:`.
    Colon,
    /// After a value: `,` or the end of the container.
    After,
    /// Within a string; `true` for a name.
    Text { name: bool },
    /// After a backslash.
    Escape { name: bool },
    /// Within `\u`: digits still to come, and their value so far.
    Unicode { name: bool, left: u8, code: u16 },
    /// After `\uD8xx`: a backslash must follow, then `u`.
    LowBackslash { name: bool },
    /// After `\uD8xx\`.
    LowU { name: bool },
    /// Within a number.
    Number(Number),
    /// Within `true`, `false` or `null`: what is still to come.
    Literal(&'static [u8]),
    /// After the text.
    End,
}
