//! What `--version` says.

use std::fmt::Write as _;

use crate::catalogue::Edition;
use crate::vendor::Vendor;

/// The version, with the catalogues that are compiled in: what a report of a fault should name.
pub(super) fn long() -> String {
    let mut text = env!("CARGO_PKG_VERSION").to_owned();
    for vendor in Vendor::ALL {
        let Edition { version, as_of } = Edition::of(vendor.bundled_catalogue());
        let name = vendor.name();
        let _ = write!(text, "\n{name:<12} catalogue {version}, as of {as_of}");
    }
    text
}
