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
    /// The first name that says most: a SPIFFE id or another URI, a DNS name, the subject's common name.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map_or([].as_slice(), |names| &names.value.general_names);
        let uri = names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let dns = names.iter().find_map(|name| match name {
            GeneralName::DNSName(dns) => Some(*dns),
            _ => None,
        });
        let common = certificate.subject().iter_common_name().next();
        let id = uri
            .or(dns)
            .or_else(|| common.and_then(|name| name.as_str().ok()))?;
        let spiffe = id.starts_with("spiffe://");
        Some(Self {
            id: id.to_owned(),
            source: if spiffe { "spiffe" } else { "mtls" },
        })
    }
}
