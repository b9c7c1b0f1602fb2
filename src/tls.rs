//! TLS, by rustls with the aws-lc-rs provider. No other module names rustls.

mod fair;
mod identity;
mod turn;

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use fair::Fair;
pub use identity::ClientIdentity;
pub use turn::Turn;

/// Certificate and key of a listener, and whom it lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The CA whose certificates apps must show, PEM; `None` if they need none.
    pub client_ca: Option<PathBuf>,
    /// Offers HTTP/2 beside HTTP/1.1.
    pub http2: bool,
}

/// A certificate, key or CA file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no PEM of the kind.
    #[error("{} holds no {what} in PEM", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Certificate or private key.
        what: &'static str,
    },
    /// rustls refuses what the files hold.
    #[error("{} cannot be used", path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// HTTP/2 in ALPN (RFC 9113 section 3.2).
const HTTP2: &[u8] = b"h2";

/// Accepts TLS from apps. Clones share their certificate.
#[derive(Clone)]
pub struct Acceptor(Arc<ArcSwap<Accepting>>);

struct Accepting {
    config: Arc<rustls::ServerConfig>,
    condition: Condition,
}

/// Whom a listener lets in: everybody, or who shows a certificate of a CA, which is known by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition(Option<String>);

/// Opens TLS to an upstream: compiled-in roots, and one CA more where the gate names it.
#[derive(Clone)]
pub struct Connector(TlsConnector);

impl Acceptor {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// If a file cannot be read, or certificate and key do not fit.
    pub fn new(settings: &ServerSettings) -> Result<Self, TlsError> {
        let chain = certificates(&settings.cert)?;
        let text = read(&settings.key)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::Pem {
            path: settings.key.clone(),
            what: "private key",
        })?;
        let refused = |source| TlsError::Refused {
            path: settings.cert.clone(),
            source,
        };
        let builder = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let (builder, condition) = match &settings.client_ca {
            None => (builder.with_no_client_auth(), Condition::default()),
            Some(path) => {
                let cas = certificates(path)?;
                let digest =
                    fingerprint(&cas.iter().flat_map(|ca| ca.to_vec()).collect::<Vec<u8>>());
                let builder = builder.with_client_cert_verifier(verifier(path, cas)?);
                (builder, Condition(Some(digest)))
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(refused)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if settings.http2 {
            config.alpn_protocols.insert(0, HTTP2.to_vec());
        }
        Ok(Self(Arc::new(ArcSwap::from_pointee(Accepting {
            config: Arc::new(config),
            condition,
        }))))
    }

    /// Whom it lets in.
    pub fn condition(&self) -> Condition {
        self.0.load().condition.clone()
    }

    /// Takes the certificate of another one: handshakes from now on show it, connections that stand keep theirs.
    pub fn replace(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// The server's side of a handshake.
    ///
    /// # Errors
    /// If the handshake fails.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.0.load().config));
        Ok(Stream::Server(Box::new(acceptor.accept(stream).await?)))
    }
}

impl Connector {
    /// Trusts the compiled-in roots and those of `ca`.
    ///
    /// # Errors
    /// If `ca` cannot be read or holds no certificate.
    pub fn new(ca: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = webpki_roots::TLS_SERVER_ROOTS
            .iter()
            .cloned()
            .collect::<rustls::RootCertStore>();
        if let Some(path) = ca {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|source| TlsError::Refused {
                    path: path.to_owned(),
                    source,
                })?;
            }
        }
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Refused {
                path: PathBuf::from("TLS versions"),
                source,
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// The client's side of a handshake with this host.
    ///
    /// # Errors
    /// If `host` is no name or address, or the handshake fails.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Stream> {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        Ok(Stream::Client(Box::new(
            self.0.connect(name, stream).await?,
        )))
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// A connection, with TLS or without.
#[derive(Debug)]
pub enum Stream {
    /// Without.
    Plain(TcpStream),
    /// TLS, our side the server's.
    Server(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// TLS, our side the client's.
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Stream {
    /// True if both sides have agreed on HTTP/2.
    pub fn speaks_http2(&self) -> bool {
        match self {
            Self::Server(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP2),
            Self::Plain(_) | Self::Client(_) => false,
        }
    }

    /// True if bytes, or the peer's end, have come that nobody has read. The system is asked, not the runtime.
    pub fn has_unread(&self) -> bool {
        let socket = match self {
            Self::Plain(stream) => stream,
            Self::Server(stream) => stream.get_ref().0,
            Self::Client(stream) => stream.get_ref().0,
        };
        let peeked = SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
        !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Who the peer is by the certificate that it has shown; `None` without one.
    pub fn client(&self) -> Option<ClientIdentity> {
        match self {
            Self::Server(stream) => {
                let shown = stream.get_ref().1.peer_certificates()?;
                ClientIdentity::of(shown.first()?)
            }
            Self::Plain(_) | Self::Client(_) => None,
        }
    }
}

macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Stream::Server($inner) => {
                let $inner = Pin::new($inner.as_mut());
                $call
            }
            Stream::Client($inner) => {
                let $inner = Pin::new($inner.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => inner.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => inner.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => inner.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(inner) => inner.is_write_vectored(),
            Self::Server(inner) => inner.is_write_vectored(),
            Self::Client(inner) => inner.is_write_vectored(),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Demands a certificate of this CA.
fn verifier(
    path: &Path,
    cas: Vec<CertificateDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in cas {
        roots.add(certificate).map_err(|source| TlsError::Refused {
            path: path.to_owned(),
            source,
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| TlsError::Refused {
            path: path.to_owned(),
            source: rustls::Error::General(error.to_string()),
        })
}

/// A digest to know bytes by: SHA-256, in hex.
fn fingerprint(bytes: &[u8]) -> String {
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, bytes);
    let mut hex = String::new();
    for byte in digest.as_ref() {
        // Writing to a string cannot fail.
        let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
    }
    hex
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let pem = || TlsError::Pem {
        path: path.to_owned(),
        what: "certificate",
    };
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| pem())?;
    if chain.is_empty() {
        Err(pem())
    } else {
        Ok(chain)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}
