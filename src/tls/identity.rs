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
    /// subject's common name. An empty name is none; a certificate without any is known by its digest.
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
        let named = [uris().next(), dns, common].into_iter().flatten();
        let mut named = named.filter(|name| !name.trim().is_empty());
        Some(Self {
            id: named
                .next()
                .map_or_else(|| super::fingerprint(certificate), str::to_owned),
            source: "mtls",
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// What a certificate with these names and this common name says.
    fn of(names: &[SanType], common: Option<&str>) -> (String, &'static str, Vec<u8>) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der().to_vec();
        let identity = ClientIdentity::of(&der).unwrap();
        (identity.id, identity.source, der)
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    #[test]
    fn the_name_that_says_most_is_taken() {
        let spiffe = "spiffe://crm.example/sync";
        let other = "https://crm.example/sync";
        for (names, common, id, source) in [
            (
                vec![dns("a.example"), uri(other), uri(spiffe)],
                Some("cn"),
                spiffe,
                "spiffe",
            ),
            (
                vec![dns("a.example"), uri(other)],
                Some("cn"),
                other,
                "mtls",
            ),
            (
                vec![dns("a.example"), dns("b.example")],
                Some("cn"),
                "a.example",
                "mtls",
            ),
            (vec![], Some("cn"), "cn", "mtls"),
            // What stands in a common name is no SPIFFE id, whatever it looks like.
            (vec![], Some(spiffe), spiffe, "mtls"),
            (vec![dns("a.example")], Some(spiffe), "a.example", "mtls"),
            // Who has a space more is somebody else.
            (vec![], Some(" cn"), " cn", "mtls"),
            // An empty name would be everybody's.
            (vec![dns("")], Some("cn"), "cn", "mtls"),
            (
                vec![uri(""), dns("a.example")],
                Some(" "),
                "a.example",
                "mtls",
            ),
        ] {
            let (told, by, _) = of(&names, common);
            assert_eq!((told.as_str(), by), (id, source), "{names:?}");
        }
    }

    #[test]
    fn one_without_names_is_known_by_its_digest() {
        let (one, source, der) = of(&[], None);
        assert_eq!((one.len(), source), (64, "mtls"));
        assert_eq!(one, super::super::fingerprint(&der));
        assert_ne!(one, of(&[], None).0, "another key is somebody else");
        let (blank, _, der) = of(&[dns("")], Some(" "));
        assert_eq!(blank, super::super::fingerprint(&der));
    }
}
