//! The app's side of TLS.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// Development certificates of this program in a directory of their own.
pub fn certificates() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = super::gate::run(&["certs", "--out", dir.path().to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    dir
}

/// The `tls` setting of a gate with these certificates, and what else belongs into it.
pub fn setting(certs: &Path, more: &str) -> String {
    format!(
        "tls = {{ cert = {:?}, key = {:?}{more} }}",
        certs.join("gate.pem"),
        certs.join("gate.key")
    )
}

/// An app that trusts these authorities, offers these protocols and shows the certificate in `shows`.
pub fn client(trusted: &[&Path], alpn: &[&str], shows: Option<&Path>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for dir in trusted {
        let pem = fs::read(dir.join("ca.pem")).unwrap();
        roots
            .add(CertificateDer::from_pem_slice(&pem).unwrap())
            .unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(dir) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(dir.join("app.pem")).unwrap()],
                PrivateKeyDer::from_pem_file(dir.join("app.key")).unwrap(),
            )
            .unwrap(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A connection to a gate, of which the handshake comes with the first byte.
pub type Stream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

pub fn connect(address: &str, config: &Arc<rustls::ClientConfig>) -> Stream {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    rustls::StreamOwned::new(connection, socket)
}
