//! `demo`: three emulated vendors, a gate before each, a few calls and their verdicts.

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

/// An app of the demo: a vendor, the token of the app with its scopes, and what it calls.
struct App {
    vendor: Vendor,
    name: &'static str,
    token: &'static str,
    scopes: &'static [&'static str],
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
    // The vendor would let the app do more: what is refused is refused by the gate.
    let scopes = catalogue.scopes().iter().map(|info| info.code.to_string());
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

fn gate(app: &App, upstream: &str) -> String {
    let App {
        vendor,
        name,
        token,
        scopes,
        ..
    } = app;
    let vendor = vendor.name();
    format!(
        r#"[[gate]]
name = "{vendor}"
app = "{name}"
vendor = "{vendor}"
listen = "127.0.0.1:0"
upstream = "http://{upstream}"
[[gate.grant]]
token = "{token}"
scopes = {scopes:?}
"#
    )
}

fn show(ready: &Ready, state: &Path) {
    for app in &APPS {
        let vendor = app.vendor.name();
        let gate = ready.gates.get(vendor).cloned().unwrap_or_default();
        say(&format!(
            "{}, an app with the scopes {}:",
            app.name,
            app.scopes.join(", ")
        ));
        say(&format!(
            "  {}  ──▶  gate http://{gate}  ──▶  emulated {vendor}",
            app.name
        ));
        for call in app.calls {
            match answer(&gate, app, call) {
                Ok(answer) => tell(app, call, &answer),
                Err(error) => complain(&format!("{}: {error:#}", call.operation)),
            }
        }
        say("");
    }
    say(&format!(
        "The journal:  grantgate audit show --state-dir {}",
        state.display()
    ));
    say(&format!("Metrics:      http://{}/metrics", ready.admin));
    if let (Some(app), Some(gate)) = (APPS.first(), ready.gates.get("bitrix24")) {
        say(&format!(
            "Your turn:    curl 'http://{gate}/rest/crm.deal.list?auth={}'",
            app.token
        ));
    }
    say("Ctrl-C ends it.");
}

/// What came of a call.
struct Answer {
    status: String,
    reason: Option<String>,
    body: String,
}

fn tell(app: &App, call: &Call, answer: &Answer) {
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

/// Makes one call.
fn answer(gate: &str, app: &App, call: &Call) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(gate)?;
    let (verb, target) = call.request.split_once(' ').unwrap_or_default();
    let body = if call.body.is_empty() {
        String::new()
    } else {
        format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            call.body.len()
        )
    };
    let request = format!(
        "{verb} {target} HTTP/1.1\r\nhost: {gate}\r\nauthorization: Bearer {}\r\n{body}connection: close\r\n\r\n{}",
        app.token, call.body
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has no head")?;
    let field = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
    };
    let status = head.lines().next().and_then(|line| line.split_once(' '));
    // The answer to a divided batch comes in chunks: the text between their sizes.
    let chunked = field("transfer-encoding: chunked").is_some();
    let text = body
        .lines()
        .filter(|line| !chunked || line.starts_with('{'));
    Ok(Answer {
        status: status.map_or_else(String::new, |(_, status)| status.to_owned()),
        reason: field("grantgate-reason: "),
        body: text.collect(),
    })
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
