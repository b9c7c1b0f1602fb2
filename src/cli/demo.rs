//! `demo`: three emulated vendors, a gate before each, an app that logs in, calls and refreshes, and the verdicts.

mod client;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use client::Client;

use super::OK;
use super::output::{colour_of, complain, say, tint};
use crate::app::{self, Ready};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::emulator::{self, Emulator, Settings};
use crate::oauth::{HttpResponse, Login, Transport};
use crate::vendor::Vendor;

/// An app of the demo: a vendor, the token that its login brings with its scopes, and what it calls.
struct App {
    vendor: Vendor,
    name: &'static str,
    token: &'static str,
    scopes: &'static [&'static str],
    token_endpoint: &'static str,
    calls: &'static [Call],
}

/// What an app calls: the operation as `explain` takes it, the request, and why it is shown.
struct Call {
    operation: &'static str,
    request: &'static str,
    body: &'static str,
    why: &'static str,
}

const APPS: [App; 3] = [
    App {
        vendor: Vendor::Bitrix24,
        name: "crm-sync",
        token: "demo-token-of-a-crm-sync-app",
        scopes: &["crm", "user_brief"],
        token_endpoint: "/oauth/token/",
        calls: &[
            Call {
                operation: "crm.deal.list",
                request: "GET /rest/crm.deal.list.json",
                body: "",
                why: "within the grant",
            },
            Call {
                operation: "user.current",
                request: "GET /rest/user.current.json",
                body: "",
                why: "within the grant: user_brief is one of three scopes that open it",
            },
            Call {
                operation: "telephony.externalCall.register",
                request: "GET /rest/telephony.externalCall.register.json",
                body: "",
                why: "outside: the app was never given telephony",
            },
            Call {
                operation: "batch",
                request: "POST /rest/batch.json",
                body: r#"{"cmd":{"deal":"crm.deal.get?id=7","task":"task.item.getdata?id=7"}}"#,
                why: "half of it: the deal is read, the task is answered as refused",
            },
            Call {
                operation: "crm.deal.lst",
                request: "GET /rest/crm.deal.lst.json",
                body: "",
                why: "a misspelt name: `crm.` is within the grant, and the portal knows no such method",
            },
        ],
    },
    App {
        vendor: Vendor::RingCentral,
        name: "dialer",
        token: "demo-token-of-a-dialer",
        scopes: &["EditExtensions", "RingOut"],
        token_endpoint: "/restapi/oauth/token",
        calls: &[
            Call {
                operation: "GET /restapi/v1.0/account/~/extension/~",
                request: "GET /restapi/v1.0/account/~/extension/~",
                body: "",
                why: "within the grant: EditExtensions includes ReadAccounts",
            },
            Call {
                operation: "GET /restapi/v1.0/account/~/user-role/default",
                request: "GET /restapi/v1.0/account/~/user-role/default",
                body: "",
                why: "outside: the default role needs RoleManagement, others do not",
            },
        ],
    },
    App {
        vendor: Vendor::LiveChat,
        name: "helpdesk-bot",
        token: "dal:demo-token-of-a-helpdesk-bot",
        scopes: &["chats--access:rw", "accounts--all:rw"],
        token_endpoint: "/v2/token",
        calls: &[
            Call {
                operation: "agent/send_event@3.6",
                request: "POST /v3.6/agent/action/send_event",
                body: r#"{"chat_id":"C","event":{"type":"message","text":"Hello"}}"#,
                why: "within the grant",
            },
            Call {
                operation: "configuration/create_agent@3.6",
                request: "POST /v3.6/configuration/action/create_agent",
                body: r#"{"id":"new@example.com","name":"New","role":"administrator"}"#,
                why: "outside: an agent yes, an administrator no",
            },
        ],
    },
];

pub(super) fn run() -> anyhow::Result<u8> {
    let dir = DemoDir::new()?;
    let mut text = format!(
        "[state]\ndir = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        dir.0.display()
    );
    for app in &APPS {
        let vendor = emulated(app)?;
        text.push_str(&gate(app, &vendor));
    }
    let config = Config::parse(Path::new("demo.toml"), &text)?;
    let ready = |ready: &Ready| {
        let (ready, state) = (ready.clone(), dir.0.clone());
        std::thread::spawn(move || show(&ready, &state));
        Ok(())
    };
    app::run(config, &text, None, ready, app::signals)?;
    Ok(OK)
}

/// Starts the vendor of an app on a thread of its own; gives its address.
fn emulated(app: &App) -> anyhow::Result<String> {
    let listener =
        TcpListener::bind("127.0.0.1:0").context("cannot listen for an emulated vendor")?;
    let address = listener.local_addr()?.to_string();
    let catalogue = Catalogue::parse(app.vendor.bundled_catalogue())?;
    let scopes = app.scopes.iter().map(|scope| (*scope).to_owned());
    let tokens = vec![(app.token.to_owned(), scopes.collect())];
    let settings = Settings {
        tokens,
        ..Settings::default()
    };
    let emulator = Arc::new(Emulator::new(app.vendor, catalogue, settings));
    std::thread::Builder::new()
        .name(app.vendor.name().to_owned())
        .spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                if let Ok(served) = emulator::serve(listener, None, emulator) {
                    served.await;
                }
            });
        })?;
    Ok(address)
}

/// A gate that knows no token: what the app may do, it learns from the app's login.
fn gate(app: &App, upstream: &str) -> String {
    let (vendor, name) = (app.vendor.name(), app.name);
    format!(
        r#"[[gate]]
name = "{vendor}"
app = "{name}"
vendor = "{vendor}"
listen = "127.0.0.1:0"
upstream = "http://{upstream}"
"#
    )
}

fn show(ready: &Ready, state: &Path) {
    let mut first = None;
    for app in &APPS {
        let gate = ready
            .gates
            .get(app.vendor.name())
            .cloned()
            .unwrap_or_default();
        match visit(app, &gate) {
            Ok(token) => first = first.or(Some((gate, token))),
            Err(error) => complain(&format!("{}: {error:#}", app.name)),
        }
        say("");
    }
    let state = state.display();
    say(&format!(
        "The journal:  grantgate audit show --state-dir {state}"
    ));
    say(&format!("Metrics:      http://{}/metrics", ready.admin));
    say(&format!("Grants:       http://{}/grants", ready.admin));
    if let Some((gate, token)) = first {
        say(&format!(
            "Your turn:    curl 'http://{gate}/rest/crm.deal.list?auth={token}'"
        ));
    }
    say("Ctrl-C ends it.");
}

/// An app at work: it logs in, calls, and refreshes. Gives the token that it has at the end.
fn visit(app: &App, gate: &str) -> anyhow::Result<String> {
    let vendor = app.vendor.name();
    say(&format!(
        "{}  ──▶  gate http://{gate}  ──▶  emulated {vendor}",
        app.name
    ));
    let login = Login::new(
        &format!("http://{gate}{}", app.token_endpoint),
        "demo-app",
        "demo-secret",
    )?;
    let through: Arc<dyn Transport> = Arc::new(Client::of(gate));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let tokens = runtime.block_on(login.exchange("demo-code", Arc::clone(&through)))?;
    say(&format!(
        "login  POST {}  (the gate learns what the token may do: {})",
        app.token_endpoint,
        tokens.scopes.unwrap_or_default().join(", ")
    ));
    let client = Client::of(gate);
    for call in app.calls {
        let answer = client.call(call.request, call.body, &tokens.access)?;
        tell(app, call, &Told::of(&answer));
    }
    let refresh = tokens
        .refresh
        .context("the login brought no refresh token")?;
    let renewed = runtime.block_on(login.refresh(&refresh, through))?;
    let Some(call) = app.calls.first() else {
        return Ok(renewed.access);
    };
    let answer = Told::of(&client.call(call.request, call.body, &renewed.access)?);
    say(&format!(
        "again  refreshed, and {} with the new token: {}",
        call.operation, answer.status
    ));
    Ok(renewed.access)
}

/// What came of a call.
struct Told {
    status: String,
    reason: Option<String>,
    body: String,
}

impl Told {
    fn of(answer: &HttpResponse) -> Self {
        let reason = answer.headers().get("grantgate-reason");
        Self {
            status: answer.status().to_string(),
            reason: reason.and_then(|reason| Some(reason.to_str().ok()?.to_owned())),
            body: String::from_utf8_lossy(answer.body()).into_owned(),
        }
    }
}

fn tell(app: &App, call: &Call, answer: &Told) {
    let split = answer.reason.is_none() && answer.body.contains("insufficient_scope");
    let word = match (&answer.reason, split) {
        (None, false) => "allow",
        (None, true) => "split",
        (Some(_), _) => "deny",
    };
    say(&format!(
        "{}  {}  ({})",
        tint(&format!("{word:5}"), colour_of(word)),
        call.operation,
        call.why
    ));
    let reason = answer.reason.as_deref().map(|reason| format!(", {reason}"));
    say(&format!(
        "       {}{}",
        answer.status,
        reason.unwrap_or_default()
    ));
    if word == "allow" {
        return;
    }
    say(&format!("       {}", answer.body));
    // A name alone does not say what a body would: that takes the whole request.
    if call.body.is_empty() {
        let quote = if call.operation.contains(' ') {
            "\""
        } else {
            ""
        };
        say(&format!(
            "       why: grantgate explain {} {quote}{}{quote} --scopes {}",
            app.vendor.name(),
            call.operation,
            app.scopes.join(",")
        ));
    }
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
