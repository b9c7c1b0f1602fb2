//! Sends spans to a collector (OTLP over HTTP, protobuf), by our own client. Where to is said by the standard variables
//! (OpenTelemetry's specification of exporters): `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::tls::Connector;
use crate::upstream::{self, Pool};

/// The largest answer of a collector that is read, in bytes.
const MOST: usize = 64 << 10;

/// The longest wait for a collector.
const PATIENCE: Duration = Duration::from_secs(10);

/// The target of the spans.
pub const TARGET: &str = "grantgate::span";

/// Spans on their way. They are sent until it is dropped; what is there by then is sent first.
#[derive(Debug)]
pub struct Collector(SdkTracerProvider);

impl Collector {
    /// Begins to collect; `None` if no variable names a collector.
    ///
    /// # Errors
    /// If the endpoint cannot be used.
    pub fn from_environment() -> Result<Option<Self>, CollectorError> {
        let named = [
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ];
        let given = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let disabled =
            given(&"OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true"));
        let Some(endpoint) = named.iter().find_map(given).filter(|_| !disabled) else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::of(&endpoint)?)
            .build()?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("grantgate");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        crate::proxy::collect_spans();
        Ok(Some(Self(provider)))
    }

    /// What makes spans.
    pub fn tracer(&self) -> SdkTracer {
        self.0.tracer("grantgate")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // What a collector does not take any more is lost: it is for looking, the journal is the record.
        let _ = self.0.shutdown_with_timeout(Duration::from_secs(2));
    }
}

/// A collector that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The endpoint is no URL with a host.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is no URL such as http://127.0.0.1:4318")]
    Endpoint,
    /// Its TLS cannot be had.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// The exporter refuses its settings.
    #[error("spans cannot be exported")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A runtime cannot be made.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Our client as the exporter's: it is called on the exporter's own thread, which has no runtime.
#[derive(Debug)]
struct Client {
    runtime: tokio::runtime::Runtime,
    pool: Arc<Pool<Full<Bytes>>>,
    settings: Arc<upstream::Settings>,
}

impl Client {
    fn of(endpoint: &str) -> Result<Self, CollectorError> {
        let wrong = || CollectorError::Endpoint;
        let uri: http::Uri = endpoint.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let (tls, port) = match uri.scheme_str() {
            Some("https") => (Some(Connector::new(None)?), 443),
            Some("http") => (None, 80),
            _ => return Err(wrong()),
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            pool: Arc::default(),
            settings: Arc::new(upstream::Settings {
                host: host.to_owned(),
                port: authority.port_u16().unwrap_or(port),
                authority: match authority.port_u16() {
                    Some(port) => format!("{}:{port}", authority.host()),
                    None => authority.host().to_owned(),
                },
                tls,
                connect: None,
                connect_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(30),
                idle_connections: 1,
                opened: prometheus_client::metrics::counter::Counter::default(),
                circuit: Arc::default(),
                private_addresses: upstream::PrivateAddresses::default(),
                last_known: Arc::default(),
            }),
        })
    }

    async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map_or_else(http::Uri::default, Into::into);
        let host = HeaderValue::try_from(self.settings.authority.as_str())?;
        request.headers_mut().insert(header::HOST, host);
        let answer = self
            .pool
            .send(&self.settings, request.map(Full::new))
            .await?;
        Ok(answer.collect(MOST).await?.map(Bytes::from))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // Nothing else would end the wait for a collector that says nothing.
        let sent = async { tokio::time::timeout(PATIENCE, self.send(request)).await };
        self.runtime.block_on(sent)?
    }
}
