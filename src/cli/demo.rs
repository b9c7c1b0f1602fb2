//! `demo`: three emulated vendors, a gate before each, an app that logs in, calls and refreshes, the verdicts, and the journal
//! beside them.

mod apps;
mod client;
mod stage;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;

use apps::{APPS, App, Call};
use client::Client;
use stage::Stage;

use super::OK;
use super::output::{Colour, colour_of, complain, say, tint};
use crate::app::{self, Ready};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::emulator::{self, Emulator, Settings};
use crate::oauth::{HttpResponse, Login, Transport};
use crate::store;

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
    app::run(
        app::Standby::new()?,
        config,
        &text,
        None,
        ready,
        app::signals,
    )?;
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
    let mut stage = Stage::new(&store::audit_dir(state));
    stage.begin();
    let mut first = None;
    for app in &APPS {
        let gate = ready
            .gates
            .get(app.vendor.name())
            .cloned()
            .unwrap_or_default();
        match visit(app, &gate, state, &mut stage) {
            Ok(token) => first = first.or(Some((gate, token))),
            Err(error) => complain(&format!("{}: {error:#}", app.name)),
        }
    }
    let (program, state) = (program(), state.display());
    say("");
    say(&tint("Look around while it stays up:", Colour::Bold));
    say(&format!(
        "  the journal   {program} audit show --state-dir {state} --follow"
    ));
    say(&format!(
        "  the grants    curl http://{}/grants",
        ready.admin
    ));
    say(&format!(
        "  the metrics   curl http://{}/metrics",
        ready.admin
    ));
    if let Some((gate, token)) = first {
        say(&format!(
            "  your turn     curl 'http://{gate}/rest/crm.deal.list?auth={token}'"
        ));
    }
    say("Ctrl-C ends it.");
}

/// The program as it was called, so that what is printed can be pasted.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if called.contains('/') {
        called
    } else {
        "grantgate".to_owned()
    }
}

/// An app at work: it logs in, calls, and refreshes. Gives the token that it has at the end.
fn visit(app: &App, gate: &str, state: &Path, stage: &mut Stage) -> anyhow::Result<String> {
    let vendor = app.vendor.name();
    let title = format!("{}  ──▶  gate {gate}  ──▶  emulated {vendor}", app.name);
    stage.title(&title);
    let login = Login::new(
        &format!("http://{gate}{}", app.token_endpoint),
        "demo-app",
        "demo-secret",
    )?;
    let through: Arc<dyn Transport> = Arc::new(Client::of(gate));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let tokens = runtime.block_on(login.exchange("demo-code", Arc::clone(&through)))?;
    stage.show(&[
        format!("login  POST {}", app.token_endpoint),
        format!(
            "       the gate learns what the token may do: {}",
            tokens.scopes.unwrap_or_default().join(", ")
        ),
    ]);
    let client = Client::of(gate);
    for call in app.calls {
        let answer = Told::of(&client.call(call.request, call.body, &tokens.access)?);
        stage.show(&lines(call, &answer));
        if answer.verdict() != "allow" {
            // By itself, so that it can be pasted.
            say(&format!("  why: {}", why(app, call, state)?));
        }
    }
    let refresh = tokens
        .refresh
        .context("the login brought no refresh token")?;
    let renewed = runtime.block_on(login.refresh(&refresh, through))?;
    stage.show(&[format!("again  POST {}: refreshed", app.token_endpoint)]);
    if let Some(call) = app.calls.first() {
        let answer = Told::of(&client.call(call.request, call.body, &renewed.access)?);
        stage.show(&lines(call, &answer));
    }
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

    fn verdict(&self) -> &'static str {
        let split = self.body.contains("insufficient_scope");
        match (&self.reason, split) {
            (None, false) => "allow",
            (None, true) => "split",
            (Some(_), _) => "deny",
        }
    }

    /// What the answer says of the refusal: of a batch what stands for its refused members.
    fn said(&self) -> String {
        let whole: Value = serde_json::from_str(&self.body).unwrap_or_default();
        match whole.pointer("/result/result_error") {
            Some(refused) if self.verdict() == "split" => format!("result_error: {refused}"),
            _ => self.body.clone(),
        }
    }
}

/// What is said of a call: the verdict, why it is shown, and the answer.
fn lines(call: &Call, answer: &Told) -> Vec<String> {
    let word = answer.verdict();
    let verdict = tint(&format!("{word:5}"), colour_of(word));
    let reason = answer.reason.as_deref().map(|reason| format!(", {reason}"));
    let mut lines = vec![
        format!("{verdict}  {}", call.operation),
        tint(&format!("       {}", call.why), Colour::Dim),
        format!("       {}{}", answer.status, reason.unwrap_or_default()),
    ];
    if word != "allow" {
        lines.push(format!("       {}", answer.said()));
    }
    lines
}

/// The command that explains what became of a call.
fn why(app: &App, call: &Call, state: &Path) -> anyhow::Result<String> {
    // A name alone does not say what a body would: that takes the whole request.
    let what = if call.body.is_empty() {
        quoted(call.operation)
    } else {
        let file = state.join(format!("{}.http", app.name));
        let request = format!(
            "{} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer TOKEN\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{}",
            call.request,
            call.body.len(),
            call.body
        );
        std::fs::write(&file, request)
            .with_context(|| format!("cannot write {}", file.display()))?;
        format!("--request {}", file.display())
    };
    Ok(format!(
        "{} explain {} {what} --scopes {}",
        program(),
        app.vendor.name(),
        app.scopes.join(",")
    ))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    if word.contains([' ', '~']) {
        format!("'{word}'")
    } else {
        word.to_owned()
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
