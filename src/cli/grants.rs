//! `grants`: what is known of tokens, and forgetting it. The running process is asked by the socket in its state
//! directory; where none runs, the database is.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::output::{Colour, say, say_folded, say_json, tint};
use super::{NO, OK, WrongUse};
use crate::clock::Timestamp;
use crate::config::{Config, DEFAULT_PATH};
use crate::grants::{GateReport, GrantReport};
use crate::model::{GrantSource, TokenId};
use crate::store::{self, Look, StateDir};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the grants of all gates, and the scopes that were granted and never used; uses are counted every half minute
    List(List),
    /// Show all that is known of one token
    Show(One),
    /// Forget what was learned of one token; declared grants stay
    Forget(One),
}

/// Which state directory, and which gate of it.
#[derive(Debug, clap::Args)]
struct Place {
    /// The configuration that names the state directory
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Only this gate
    #[arg(long, value_name = "NAME")]
    gate: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// At most so many of each gate, the last used first
    #[arg(long, value_name = "N", default_value_t = 100)]
    most: usize,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    #[command(flatten)]
    place: Place,
    /// The token's id, as records show it and `audit id` prints it
    token: String,
}

pub(super) fn run(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::List(arguments) => list(arguments),
        Command::Show(arguments) => show(arguments),
        Command::Forget(arguments) => forget(arguments),
    }
}

/// The state directory and the gates of a configuration.
struct Known {
    dir: PathBuf,
    gates: Vec<String>,
}

impl Place {
    fn known(&self) -> anyhow::Result<Known> {
        let config = Config::load(&self.config)?;
        let gates = config.gates.iter().map(|gate| gate.name.clone());
        let gates: Vec<String> = gates
            .filter(|name| self.gate.as_ref().is_none_or(|wanted| wanted == name))
            .collect();
        if let (Some(wanted), true) = (&self.gate, gates.is_empty()) {
            bail!(WrongUse(format!("there is no gate `{wanted}`")));
        }
        Ok(Known {
            dir: config.state.dir,
            gates,
        })
    }

    fn query(&self) -> String {
        self.gate
            .as_ref()
            .map_or_else(String::new, |gate| format!("gate={gate}"))
    }
}

fn list(arguments: &List) -> anyhow::Result<u8> {
    let known = arguments.place.known()?;
    let target = format!(
        "/grants?most={}&{}",
        arguments.most,
        arguments.place.query()
    );
    let reports: Vec<GateReport> = match ask(&known.dir, "GET", &target)? {
        Some(answer) => serde_json::from_value(answer).context("the answer is no list")?,
        None => offline(&known, arguments.most)?,
    };
    if arguments.place.json {
        say_json(&reports);
        return Ok(OK);
    }
    for report in &reports {
        print(report);
    }
    Ok(OK)
}

fn show(arguments: &One) -> anyhow::Result<u8> {
    let known = arguments.place.known()?;
    let token = token_id(&arguments.token)?;
    let target = format!("/grants/{token}?{}", arguments.place.query());
    let found: Vec<GrantReport> = if let Some(answer) = ask(&known.dir, "GET", &target)? {
        serde_json::from_value(answer).context("the answer is no list")?
    } else {
        let all = offline(&known, usize::MAX)?;
        let grants = all.into_iter().flat_map(|report| report.grants);
        grants
            .filter(|grant| grant.token == token.to_string())
            .collect()
    };
    if arguments.place.json {
        say_json(&found);
    } else if found.is_empty() {
        say("nothing is known of this token");
    } else {
        found.iter().for_each(print_one);
    }
    Ok(if found.is_empty() { NO } else { OK })
}

fn forget(arguments: &One) -> anyhow::Result<u8> {
    let known = arguments.place.known()?;
    let token = token_id(&arguments.token)?;
    let target = format!("/grants/{token}?{}", arguments.place.query());
    let gates: Vec<String> = if let Some(answer) = ask(&known.dir, "DELETE", &target)? {
        let answers = answer.as_array().into_iter().flatten();
        answers
            .filter_map(|one| Some(one.get("gate")?.as_str()?.to_owned()))
            .collect()
    } else {
        forget_offline(known, token)?
    };
    if arguments.place.json {
        say_json(&serde_json::json!({ "forgotten": gates }));
    } else if gates.is_empty() {
        say("nothing was learned of this token");
    } else {
        say(&format!("forgotten on {}", gates.join(", ")));
    }
    Ok(if gates.is_empty() { NO } else { OK })
}

/// Forgets a token while no process runs.
fn forget_offline(known: Known, token: TokenId) -> anyhow::Result<Vec<String>> {
    let settings = store::Settings {
        dir: known.dir.clone(),
    };
    // Nobody else may hold the directory meanwhile.
    let _held = StateDir::open(&settings)?;
    let mut forgotten = Vec::new();
    if let Some(look) = Look::into(&known.dir)? {
        for gate in known.gates {
            if look.forget(&gate, token)? {
                forgotten.push(gate);
            }
        }
    }
    Ok(forgotten)
}

fn token_id(text: &str) -> anyhow::Result<TokenId> {
    text.parse()
        .map_err(|error| WrongUse(format!("`{text}` is no token id: {error}")).into())
}

/// Asks the process that holds the state directory; `None` if none does.
fn ask(dir: &Path, verb: &str, target: &str) -> anyhow::Result<Option<Value>> {
    let Ok(mut stream) = UnixStream::connect(store::socket(dir)) else {
        return Ok(None);
    };
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let request =
        format!("{verb} {target} HTTP/1.1\r\nhost: grantgate\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = head.parse(&answer)? else {
        bail!("the running process answers no HTTP");
    };
    let status = head.code.unwrap_or_default();
    let body: Value = serde_json::from_slice(answer.get(end..).unwrap_or_default())
        .context("the running process answers no JSON")?;
    if !matches!(status, 200 | 404) {
        let error = body.get("error").and_then(Value::as_str);
        let error = error.unwrap_or("for no reason that it says");
        bail!("the running process refuses: {error}");
    }
    Ok(Some(body))
}

/// What the database says while no process runs.
fn offline(known: &Known, most: usize) -> anyhow::Result<Vec<GateReport>> {
    let Some(look) = Look::into(&known.dir)? else {
        return Ok(Vec::new());
    };
    let now = Timestamp::now().as_secs();
    known
        .gates
        .iter()
        .map(|gate| {
            let rows = look.grants(gate)?.into_iter();
            let grants = rows.map(|row| GrantReport::of(gate, row, now)).collect();
            Ok(GateReport::new(gate, grants, look.uses(gate)?, most))
        })
        .collect()
}

fn print(report: &GateReport) {
    let all = report.grants.len() + report.more;
    let plural = if all == 1 { "" } else { "s" };
    say(&format!("gate {}: {all} grant{plural}", report.gate));
    if all > 0 {
        say("  token id                          standing  source         used    expires");
    }
    let now = Timestamp::now().as_secs();
    for grant in &report.grants {
        let colour = if grant.standing == "valid" {
            Colour::Green
        } else {
            Colour::Yellow
        };
        say(&format!(
            "  {}  {}  {:<13}  {:>6}  {:>7}",
            grant.token,
            tint(&format!("{:<8}", grant.standing), colour),
            grant.source,
            match grant.used {
                Some(used) => span(now.saturating_sub(used)),
                None => unused_word(grant).to_owned(),
            },
            grant
                .expires
                .map_or_else(|| "-".to_owned(), |end| span(end.saturating_sub(now))),
        ));
        let user = grant.user.as_deref().map(|user| format!("user {user}: "));
        let scopes = grant.scopes.join(" ");
        let whose = format!("{}{scopes}", user.unwrap_or_default());
        say_folded("      ", "      ", &plain(&whose));
    }
    if report.more > 0 {
        say(&format!("  and {} more: see --most", report.more));
    }
    let unused: Vec<&str> = report.never_used().collect();
    if !unused.is_empty() {
        let unused = format!("granted but never used: {}", unused.join(" "));
        say_folded("  ", "      ", &unused);
    }
}

fn print_one(grant: &GrantReport) {
    let time = |secs: u32| Timestamp::from_nanos(u64::from(secs) * 1_000_000_000).to_rfc3339();
    say(&format!("gate     {}", grant.gate));
    say(&format!("token    {}", grant.token));
    say(&format!("standing {}", grant.standing));
    say(&format!(
        "source   {}, {}",
        grant.source,
        time(grant.obtained)
    ));
    let or = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
    say(&format!(
        "expires  {}",
        or(grant.expires.map(time), "nobody said")
    ));
    say(&format!(
        "used     {}",
        or(grant.used.map(time), unused_word(grant))
    ));
    say(&format!("user     {}", plain(&or(grant.user.clone(), "-"))));
    say(&format!(
        "tenant   {}",
        plain(&or(grant.tenant.clone(), "-"))
    ));
    say(&format!("scopes   {}", plain(&grant.scopes.join(" "))));
}

/// What stands where no use is noted: of declared grants none ever is.
fn unused_word(grant: &GrantReport) -> &'static str {
    if grant.source == GrantSource::Config.as_str() {
        "-"
    } else {
        "never"
    }
}

/// A span of time in its largest unit.
fn span(secs: u32) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / 60),
        7200..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// Text of a vendor as a terminal may show it.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
