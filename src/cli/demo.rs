//! `demo`: an emulated portal, a gate before it, a few calls and their verdicts.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::OK;
use super::output::{colour_of, complain, say, tint};
use crate::app::{self, Ready};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::emulator::{self, Emulator, Settings};
use crate::vendor::Vendor;

/// A token of the demo, with the scopes that its app was given.
const TOKEN: &str = "demo-token-of-a-crm-sync-app";
const SCOPES: [&str; 2] = ["crm", "user_brief"];

/// What the app calls, and why it is shown.
const CALLS: [(&str, &str); 5] = [
    ("crm.deal.list", "within the grant"),
    (
        "user.current",
        "within the grant: user_brief is one of three scopes that open it",
    ),
    (
        "telephony.externalCall.register",
        "outside: the app was never given telephony",
    ),
    ("task.item.list", "outside: the app was never given task"),
    (
        "crm.deal.lst",
        "a misspelt name: the portal itself knows no such method",
    ),
];

pub(super) fn run() -> anyhow::Result<u8> {
    let dir = DemoDir::new()?;
    let portal =
        TcpListener::bind("127.0.0.1:0").context("cannot listen for the emulated portal")?;
    let portal_address = portal.local_addr()?;
    let scopes = SCOPES.map(str::to_owned).to_vec();
    let catalogue = Catalogue::parse(Vendor::Bitrix24.bundled_catalogue())?;
    let tokens = vec![(TOKEN.to_owned(), scopes)];
    let emulator = Arc::new(Emulator::new(
        Vendor::Bitrix24,
        catalogue,
        Settings {
            tokens,
            ..Settings::default()
        },
    ));
    std::thread::Builder::new()
        .name("portal".to_owned())
        .spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                if let Ok(served) = emulator::serve(portal, None, emulator) {
                    served.await;
                }
            });
        })?;
    let text = configuration(&dir.0, &portal_address.to_string());
    let config = Config::parse(Path::new("demo.toml"), &text)?;
    let ready = |ready: &Ready| {
        let gate = ready.gates.get("demo").cloned().unwrap_or_default();
        let (admin, journal) = (ready.admin.clone(), dir.0.join("audit"));
        let portal = portal_address.to_string();
        std::thread::spawn(move || show(&gate, &admin, &portal, &journal));
        Ok(())
    };
    app::run(config, &text, ready, app::signals)?;
    Ok(OK)
}

fn configuration(dir: &Path, portal: &str) -> String {
    let dir = dir.display();
    format!(
        r#"[state]
dir = "{dir}"
[admin]
listen = "127.0.0.1:0"
[[gate]]
name = "demo"
app = "crm-sync"
vendor = "bitrix24"
listen = "127.0.0.1:0"
upstream = "http://{portal}"
[[gate.grant]]
token = "{TOKEN}"
scopes = {SCOPES:?}
"#
    )
}

fn show(gate: &str, admin: &str, portal: &str, journal: &Path) {
    say(&format!(
        "An app with the scopes {} calls a portal through Grantgate:",
        SCOPES.join(", ")
    ));
    say("");
    say(&format!(
        "  app  ──▶  gate http://{gate}  ──▶  emulated portal http://{portal}"
    ));
    say("");
    for (operation, why) in CALLS {
        match call(gate, operation) {
            Ok((status, reason, body)) => {
                let decision = if reason.is_none() { "allow" } else { "deny" };
                say(&format!(
                    "{}  {operation}  ({why})",
                    tint(&format!("{decision:5}"), colour_of(decision))
                ));
                say(&format!(
                    "       {status}{}",
                    reason
                        .map(|reason| format!(", {reason}"))
                        .unwrap_or_default()
                ));
                if decision == "deny" {
                    say(&format!("       {body}"));
                    say(&format!(
                        "       why: grantgate explain bitrix24 {operation} --scopes {}",
                        SCOPES.join(",")
                    ));
                }
            }
            Err(error) => complain(&format!("{operation}: {error:#}")),
        }
    }
    say("");
    say(&format!(
        "The journal:  grantgate audit show --state-dir {}",
        journal.parent().unwrap_or(journal).display()
    ));
    say(&format!("Metrics:      http://{admin}/metrics"));
    say(&format!(
        "Your turn:    curl 'http://{gate}/rest/crm.deal.list?auth={TOKEN}'"
    ));
    say("Ctrl-C ends it.");
}

/// Calls one method; gives the status line, the reason of a refusal, and the body.
fn call(gate: &str, operation: &str) -> anyhow::Result<(String, Option<String>, String)> {
    let mut stream = TcpStream::connect(gate)?;
    let request = format!(
        "GET /rest/{operation}.json HTTP/1.1\r\nhost: {gate}\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has no head")?;
    let status = head
        .lines()
        .next()
        .and_then(|line| line.split_once(' '))
        .map(|(_, status)| status.to_owned());
    let reason = head
        .lines()
        .find_map(|line| line.strip_prefix("grantgate-reason: "))
        .map(str::to_owned);
    Ok((status.unwrap_or_default(), reason, body.to_owned()))
}

/// The demo's state, removed when the demo ends.
struct DemoDir(PathBuf);

impl DemoDir {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("grantgate-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for DemoDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
