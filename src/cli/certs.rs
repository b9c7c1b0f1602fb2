//! `certs`: a certificate authority and certificates for development.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::output::say;
use super::{OK, WrongUse};

/// The name in the app's certificate.
const APP: &str = "spiffe://grantgate.development/app";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to write ca.pem, gate.pem and app.pem with their keys
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One more host name or address for the gate's certificate, beside localhost, 127.0.0.1 and `::1`
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Replace what is there: apps that trust the authority before will not trust the new one
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make {}", arguments.out.display()))?;
    let there = arguments.out.join("ca.key");
    if there.exists() && !arguments.force {
        let what = format!(
            "{} is there: --force replaces it and all it has signed",
            there.display()
        );
        return Err(WrongUse(what).into());
    }
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name
        .push(DnType::CommonName, "Grantgate development CA");
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let names = ["localhost", "127.0.0.1", "::1"]
        .into_iter()
        .map(str::to_owned)
        .chain(arguments.names.iter().cloned());
    let mut gate = CertificateParams::new(names.collect::<Vec<_>>())?;
    gate.distinguished_name
        .push(DnType::CommonName, "Grantgate development");
    let key = KeyPair::generate()?;
    let certificate = gate.signed_by(&key, &ca)?;
    write(&arguments.out.join("ca.pem"), &ca.pem(), 0o644)?;
    write(
        &arguments.out.join("ca.key"),
        &ca.key().serialize_pem(),
        0o600,
    )?;
    write(&arguments.out.join("gate.pem"), &certificate.pem(), 0o644)?;
    write(&arguments.out.join("gate.key"), &key.serialize_pem(), 0o600)?;
    let mut app = CertificateParams::default();
    app.distinguished_name
        .push(DnType::CommonName, "Grantgate development app");
    app.subject_alt_names = vec![SanType::URI(APP.try_into()?)];
    app.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let app_key = KeyPair::generate()?;
    let app = app.signed_by(&app_key, &ca)?;
    write(&arguments.out.join("app.pem"), &app.pem(), 0o644)?;
    write(
        &arguments.out.join("app.key"),
        &app_key.serialize_pem(),
        0o600,
    )?;
    let out = arguments.out.display();
    say(&format!(
        "wrote {out}/ca.pem, gate.pem and app.pem with their keys: for development only"
    ));
    say(&format!(
        "gate: tls = {{ cert = \"{out}/gate.pem\", key = \"{out}/gate.key\" }}"
    ));
    say(&format!(
        "apps: trust {out}/ca.pem, by SSL_CERT_FILE, REQUESTS_CA_BUNDLE or NODE_EXTRA_CA_CERTS"
    ));
    say(&format!(
        "apps known by certificate: client_ca = \"{out}/ca.pem\" in the gate's tls, {out}/app.pem and app.key in the app"
    ));
    Ok(OK)
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let opened = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
