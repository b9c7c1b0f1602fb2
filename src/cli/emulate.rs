//! `emulate`: an emulated vendor alone.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::output::say;
use super::{OK, WrongUse};
use crate::app::{self, Ready};
use crate::catalogue::Catalogue;
use crate::emulator::{self, Emulator, Settings};
use crate::tls::{Acceptor, ServerSettings};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The vendor: bitrix24, ringcentral, livechat
    vendor: String,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9405")]
    listen: SocketAddr,
    /// A token and its scopes; a webhook is `USER_ID/SECRET=scope,scope`. May be given several times
    #[arg(long = "token", value_name = "TOKEN=SCOPE,SCOPE")]
    tokens: Vec<String>,
    /// So many calls may come at once, two more each second; beyond that `QUERY_LIMIT_EXCEEDED`
    #[arg(long, value_name = "CALLS")]
    burst: Option<u32>,
    /// This method has used up its time: `OPERATION_TIME_LIMIT`. May be given several times
    #[arg(long, value_name = "METHOD")]
    blocked: Vec<String>,
    /// Access tokens expire after so many seconds; `refresh-TOKEN` renews them at the token endpoint
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u64>,
    /// Answer by TLS
    #[arg(long, value_name = "CERT,KEY")]
    tls: Option<String>,
    /// Write {"pid","admin","gates"} to this file once the port is open
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let vendor = super::catalogue::vendor(&arguments.vendor)?;
    let tokens = arguments
        .tokens
        .iter()
        .map(|text| token(text))
        .collect::<Result<Vec<_>, _>>()?;
    let tls = arguments.tls.as_deref().map(acceptor).transpose()?;
    let catalogue = Catalogue::parse(vendor.bundled_catalogue())?;
    let settings = Settings {
        tokens,
        expires_in: arguments.expires_in.map(Duration::from_secs),
        burst: arguments.burst,
        blocked: arguments.blocked.clone(),
        secure: tls.is_some(),
    };
    let emulator = Arc::new(Emulator::new(vendor, catalogue, settings));
    let listener = TcpListener::bind(arguments.listen)
        .map_err(|error| WrongUse(format!("cannot listen on {}: {error}", arguments.listen)))?;
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (stop, _) = app::signals()?;
        let served = emulator::serve(listener, tls, emulator)?;
        if let Some(path) = &arguments.ready_file {
            let gates = BTreeMap::from([(vendor.name().to_owned(), address.to_string())]);
            app::write_ready_file(
                path,
                &Ready {
                    pid: std::process::id(),
                    admin: String::new(),
                    gates,
                },
            )?;
        }
        say(&format!(
            "{} is emulated at {scheme}://{address}; Ctrl-C ends it",
            vendor.name()
        ));
        tokio::select! {
            () = served => {}
            () = stop => {}
        }
        Ok(OK)
    })
}

fn token(text: &str) -> Result<(String, Vec<String>), WrongUse> {
    let (token, scopes) = text
        .split_once('=')
        .ok_or_else(|| WrongUse("a token is given as TOKEN=SCOPE,SCOPE".to_owned()))?;
    Ok((
        token.to_owned(),
        scopes
            .split(',')
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .collect(),
    ))
}

fn acceptor(text: &str) -> anyhow::Result<Acceptor> {
    let (cert, key) = text
        .split_once(',')
        .ok_or_else(|| WrongUse("--tls takes CERT,KEY".to_owned()))?;
    Acceptor::new(&ServerSettings {
        cert: cert.into(),
        key: key.into(),
        client_ca: None,
        http2: false,
    })
    .context("cannot use --tls")
}
