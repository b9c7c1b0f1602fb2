//! Signed uploads: their bodies stream, and are looked at while they pass.

use super::multipart::{MultipartScanner, Parts};
use super::name::{Classified, Watch as Names, classify};
use super::read::BODY_MULTIPART;
use crate::model::{Fault, Reason};

const DECIDES: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the upload's form has a field that would decide for whom or what it is",
};

/// Looks at the form of an upload while it passes: the credential and the token stand in the target, and no field may
/// say otherwise.
pub struct Watch {
    scanner: MultipartScanner,
    fields: Fields,
}

#[derive(Default)]
struct Fields {
    decides: bool,
}

impl Parts for Fields {
    fn part(&mut self, name: &[u8], _is_file: bool, _at: u64, _name_at: u64) -> bool {
        self.decides |= name.contains(&0) || classify(name, Names::default()) != Classified::Other;
        false
    }

    fn content(&mut self, _piece: &[u8]) {}

    fn end(&mut self, _at: u64) {}
}

impl Watch {
    pub(super) fn new(scanner: MultipartScanner) -> Self {
        Self {
            scanner,
            fields: Fields::default(),
        }
    }

    /// Looks at the next bytes.
    pub(in crate::vendor) fn feed(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let scanned = self.scanner.feed(bytes, &mut self.fields);
        if self.fields.decides {
            return Err(DECIDES);
        }
        scanned.map_err(|_| BODY_MULTIPART)
    }

    /// Looks at the end.
    pub(in crate::vendor) fn finish(&self) -> Result<(), Fault> {
        self.scanner.finish().map_err(|_| BODY_MULTIPART)
    }
}
