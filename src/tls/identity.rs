//! Who an app is by its certificate.

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The name in a client certificate that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The name.
    pub id: String,
    /// `spiffe` for a SPIFFE id, else `mtls`.
    pub source: &'static str,
}

impl ClientIdentity {
    /// The name that says most: a SPIFFE id, which is a URI of that scheme and nothing else; another URI, a DNS name, the
    /// subject's common name. A certificate without any is known by its digest.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map_or([].as_slice(), |names| &names.value.general_names);
        let uris = || {
            names.iter().filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
        };
        if let Some(spiffe) = uris().find(|uri| uri.starts_with("spiffe://")) {
            return Some(Self {
                id: spiffe.to_owned(),
                source: "spiffe",
            });
        }
        let dns = names.iter().find_map(|name| match name {
            GeneralName::DNSName(dns) => Some(*dns),
            _ => None,
        });
        let mut common = parsed.subject().iter_common_name();
        let common = common.next().and_then(|name| name.as_str().ok());
        let named = uris().next().or(dns).or(common).map(str::to_owned);
        Some(Self {
            id: named.unwrap_or_else(|| super::fingerprint(certificate)),
            source: "mtls",
        })
    }
}
