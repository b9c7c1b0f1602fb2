//! Values that decide, collected from pieces.

use zeroize::Zeroize;

/// The longest value that is kept, in bytes.
const LONGEST_VALUE: usize = 8 * 1024;

/// A value that must stand once.
#[derive(Default)]
pub(super) enum Value {
    /// It does not stand anywhere.
    #[default]
    Absent,
    /// It stands once.
    One(Vec<u8>),
    /// It stands more than once, or is no text, or is too long.
    Unclear,
}

impl Value {
    /// Takes one more occurrence.
    pub(super) fn found(&mut self, value: Option<Vec<u8>>) {
        *self = match (&self, value) {
            (Self::Absent, Some(value)) => Self::One(value),
            _ => Self::Unclear,
        };
    }

    /// The value, where it stands once and is text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::One(value) => std::str::from_utf8(value).ok(),
            Self::Absent | Self::Unclear => None,
        }
    }

    pub(super) const fn is_unclear(&self) -> bool {
        matches!(self, Self::Unclear)
    }

    pub(super) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// Collects one value that comes in pieces; wiped when it goes.
#[derive(Default)]
pub(super) struct Collector {
    bytes: Vec<u8>,
    too_long: bool,
}

impl Collector {
    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        if self.bytes.len() + piece.len() > LONGEST_VALUE {
            self.too_long = true;
        } else {
            self.bytes.extend_from_slice(piece);
        }
    }

    /// The value, unless it was too long; the collector is as new.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let value = std::mem::take(&mut self.bytes);
        if std::mem::take(&mut self.too_long) {
            let mut value = value;
            value.zeroize();
            return None;
        }
        Some(value)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        if let Self::One(value) = self {
            value.zeroize();
        }
    }
}

/// True for a value that PHP takes for true: neither empty nor `0`.
pub(super) fn is_true(text: &[u8]) -> bool {
    !matches!(text, b"" | b"0")
}

/// True for a JSON number that PHP takes for true: any but zero, as a 64-bit float has it.
pub(super) fn is_true_number(text: &[u8]) -> bool {
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    number != Some(0.0)
}

/// The value of a choice whose presence is all that matters.
pub(super) fn present() -> Value {
    Value::One(b"present".to_vec())
}
