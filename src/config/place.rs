//! Places on the network: TLS of a listener, and where a gate's calls go.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use super::LimitsSection;
use super::document::Placed;
use super::section::Section;
use crate::telemetry::with_causes;
use crate::tls;
use crate::upstream::{self, PrivateAddresses};
use crate::vendor::Vendor;

/// Where a gate's calls go.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The URL as configured.
    pub url: String,
    /// How to get there.
    pub settings: upstream::Settings,
}

/// Reads certificate and key of a listener.
pub(super) fn tls(section: &Section<'_, '_>, http2: bool) -> Option<tls::Acceptor> {
    let cert = section.required("cert");
    let key = section.required("key");
    let client_ca = section.string("client_ca");
    section.finish();
    for file in [&cert, &key, &client_ca].into_iter().flatten() {
        section.document.depends_on(file.value);
    }
    let settings = tls::ServerSettings {
        cert: cert?.value.into(),
        key: key?.value.into(),
        client_ca: client_ca.map(|ca| ca.value.into()),
        http2,
    };
    tls::Acceptor::new(&settings)
        .map_err(|error| {
            section.problem(
                with_causes(&error),
                "`grantgate certs --out certs/dev` makes certificates for development",
            );
        })
        .ok()
}

/// Reads where a gate's calls go, and where its token traffic goes; `None` if they cannot go anywhere, with the problems
/// noted.
pub(super) fn upstream(
    section: &Section<'_, '_>,
    vendor: Option<Vendor>,
    limits: &LimitsSection,
) -> Option<(Upstream, Upstream)> {
    let ca = section.string("upstream_ca");
    let plain = section.boolean("allow_plain_upstream");
    let connect = section
        .string("connect")
        .filter(|connect| host_and_port(section, connect));
    let private = private_addresses(section);
    let server = section.string("authorization_server");
    let url = section.required("upstream");
    let server = server.map(|server| place(section, "authorization_server", &server, plain));
    let (upstream, loopback) = place(section, "upstream", &url?, plain)?;
    let settings = |place: Place, connect: Option<String>| {
        place.reached(section, ca.as_ref(), connect, private, limits)
    };
    let upstream = settings(upstream, connect.map(|connect| connect.value.to_owned()))?;
    let authorization = match server {
        Some(server) => settings(server?.0, None)?,
        // A rehearsal has one address for both.
        None if loopback => upstream.clone(),
        None => settings(known(vendor?.authorization_server()), None)?,
    };
    Some((upstream, authorization))
}

/// A host with its port, as a URL names it.
struct Place {
    url: String,
    secure: bool,
    host: String,
    port: u16,
    authority: String,
}

impl Place {
    /// How to get there.
    fn reached(
        self,
        section: &Section<'_, '_>,
        ca: Option<&Placed<&str>>,
        connect: Option<String>,
        private_addresses: PrivateAddresses,
        limits: &LimitsSection,
    ) -> Option<Upstream> {
        let tls = if self.secure {
            Some(connector(section, ca)?)
        } else {
            None
        };
        Some(Upstream {
            url: self.url,
            settings: upstream::Settings {
                host: self.host,
                port: self.port,
                authority: self.authority,
                tls,
                connect,
                // A connection that cannot be made is to be told from an answer that does not come.
                connect_timeout: limits.connect.min(limits.limits.first_byte * 3 / 4),
                idle_timeout: limits.pool_idle,
                idle_connections: limits.pool_connections,
                opened: prometheus_client::metrics::counter::Counter::default(),
                circuit: std::sync::Arc::default(),
                private_addresses,
                last_known: std::sync::Arc::default(),
            },
        })
    }
}

/// Reads the host of an endpoint that has a path of its own; it trusts what the gate trusts.
pub(super) fn endpoint(
    section: &Section<'_, '_>,
    gate: &Section<'_, '_>,
    url: &Placed<&str>,
    limits: &LimitsSection,
) -> Option<Upstream> {
    let (scheme, rest) = url.value.split_once("://").unwrap_or(("", url.value));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let base = format!("{scheme}://{host}");
    let base = Placed {
        value: base.as_str(),
        span: url.span.clone(),
    };
    let plain = gate.boolean("allow_plain_upstream");
    let (place, _) = place(section, "endpoint", &base, plain)?;
    let (ca, private) = (gate.string("upstream_ca"), private_addresses(gate));
    place.reached(section, ca.as_ref(), None, private, limits)
}

/// Notes a `connect` that is no host with a port.
fn host_and_port(section: &Section<'_, '_>, connect: &Placed<&str>) -> bool {
    let parts = connect.value.rsplit_once(':');
    let fits = parts.is_some_and(|(host, port)| {
        // An IPv6 address has colons of its own.
        let bare = host.starts_with('[') && host.ends_with(']') || !host.contains(':');
        !host.is_empty() && bare && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !fits {
        section.problem_at(
            &connect.span,
            "`connect` is no host with a port",
            "write connect = \"192.0.2.7:443\", or [2001:db8::7]:443",
        );
    }
    fits
}

fn private_addresses(gate: &Section<'_, '_>) -> PrivateAddresses {
    let words = [
        ("allow", PrivateAddresses::Allow),
        ("refuse", PrivateAddresses::Refuse),
    ];
    gate.choice("private_addresses", &words).unwrap_or_default()
}

/// Reads the place of another server, by a URL that has a scheme and a host only.
pub(super) fn server(
    section: &Section<'_, '_>,
    name: &str,
    url: &Placed<String>,
    ca: Option<&Placed<&str>>,
    limits: &LimitsSection,
) -> Option<upstream::Settings> {
    let url = Placed {
        value: url.value.as_str(),
        span: url.span.clone(),
    };
    // It carries no tokens; a password in the clear is for whoever trusts the network.
    let (place, _) = place(section, name, &url, true)?;
    let private = PrivateAddresses::Allow;
    Some(place.reached(section, ca, None, private, limits)?.settings)
}

/// The place of a vendor's own host, by https.
fn known(host: &str) -> Place {
    Place {
        url: format!("https://{host}"),
        secure: true,
        host: host.to_owned(),
        port: 443,
        authority: host.to_owned(),
    }
}

/// The place that a setting names, and whether it is on this machine.
fn place(
    section: &Section<'_, '_>,
    name: &str,
    url: &Placed<&str>,
    plain: bool,
) -> Option<(Place, bool)> {
    let wrong = |message: &str| {
        section.problem_at(
            &url.span,
            format!("`{name}` {message}"),
            "write scheme and host only, such as https://portal.bitrix24.com",
        );
        None
    };
    let Ok(uri) = url.value.trim_end_matches('/').parse::<http::Uri>() else {
        return wrong("is no URL");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return wrong("is no URL with a scheme and a host");
    };
    if uri.query().is_some() || uri.path() != "/" || authority.as_str().contains('@') {
        return wrong("has more than a scheme and a host");
    }
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let secure = match scheme {
        "https" => true,
        "http" => false,
        _ => return wrong("is neither https nor http"),
    };
    let loopback = host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if !secure && !loopback && !plain {
        section.problem_at(
            &url.span,
            "tokens would travel in the clear to another machine",
            "use https, or set allow_plain_upstream = true if the network is trusted",
        );
        return None;
    }
    let default_port = if secure { 443 } else { 80 };
    let place = Place {
        url: url.value.to_owned(),
        secure,
        host,
        port: authority.port_u16().unwrap_or(default_port),
        authority: authority.as_str().to_owned(),
    };
    Some((place, loopback))
}

fn connector(section: &Section<'_, '_>, ca: Option<&Placed<&str>>) -> Option<tls::Connector> {
    if let Some(ca) = ca {
        section.document.depends_on(ca.value);
    }
    tls::Connector::new(ca.map(|ca| Path::new(ca.value)))
        .map_err(|error| {
            let hint = "`upstream_ca` is a PEM file with the CA's certificate";
            match ca {
                Some(ca) => section.problem_at(&ca.span, with_causes(&error), hint),
                None => section.problem(with_causes(&error), hint),
            }
        })
        .ok()
}

/// True if calls to this upstream would come in by this listener.
pub(super) fn leads_to(upstream: &upstream::Settings, listen: SocketAddr) -> bool {
    if listen.port() == 0 {
        return false;
    }
    let reaches = |address: SocketAddr| {
        let here = address.ip() == listen.ip()
            || (listen.ip().is_unspecified() && address.ip().is_loopback());
        address.port() == listen.port() && here
    };
    match &upstream.connect {
        Some(place) => place
            .to_socket_addrs()
            .is_ok_and(|mut found| found.any(reaches)),
        None if upstream.port == listen.port() => (upstream.host.as_str(), upstream.port)
            .to_socket_addrs()
            .is_ok_and(|mut found| found.any(reaches)),
        None => false,
    }
}
