//! What `--version` says.

use crate::catalogue::Edition;
use crate::vendor::Vendor;

/// The version, with the catalogues that are compiled in: what a report of a fault should name.
pub(super) fn long() -> String {
    let mut text = env!("CARGO_PKG_VERSION").to_owned();
    for vendor in Vendor::ALL {
        let Edition { version, as_of } = Edition::of(vendor.bundled_catalogue());
        text.push_str(&format!(
            "\n{:<12} catalogue {version}, as of {as_of}",
            vendor.name()
        ));
    }
    text
}
