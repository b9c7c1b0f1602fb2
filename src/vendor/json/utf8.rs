//! UTF-8, checked in pieces of any size.

/// Checks that bytes are UTF-8 (RFC 3629), however they are cut.
#[derive(Debug, Default)]
pub(super) struct Utf8Check {
    /// The beginning of a character whose end has not come yet.
    begun: Vec<u8>,
}

impl Utf8Check {
    /// Checks the next bytes; false if they cannot be part of UTF-8.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !self.begun.is_empty() {
            let Some((&byte, after)) = rest.split_first() else {
                return true;
            };
            rest = after;
            self.begun.push(byte);
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(rest) {
            Ok(_) => true,
            Err(error) if error.error_len().is_none() => {
                self.begun
                    .extend_from_slice(rest.get(error.valid_up_to()..).unwrap_or_default());
                true
            }
            Err(_) => false,
        }
    }

    /// True if no character is left unfinished.
    pub(super) fn is_whole(&self) -> bool {
        self.begun.is_empty()
    }
}
