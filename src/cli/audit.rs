//! `audit`: checks, reads and searches the journal.

mod count;
mod sentence;

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use count::Counts;
pub(super) use sentence::sentence;
use sentence::{children, text};

use super::output::{complain, say, say_json, tell};
use super::{NO, OK, USAGE, WrongUse};
use crate::audit as journal;
use crate::config::{Config, DEFAULT_PATH};
use crate::model::{Pattern, Reason, Secret, TokenIdKey};
use crate::store;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check every record: whole, in sequence, fitting its hash
    #[command(
        after_help = "Exits with 0 if all hold, 1 if one does not, 2 if there is no journal to read."
    )]
    Verify(Verify),
    /// Read records
    Show(Show),
    /// Print the token id of a token read from stdin, to search the records with
    Id(Id),
}

/// Which journal.
#[derive(Debug, clap::Args)]
struct Place {
    /// The configuration that names the state directory
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// The state directory itself, without a configuration
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The directory with the segments itself, such as the second one of two
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    place: Place,
    /// Only decisions with this word, and batches with such a member
    #[arg(long, value_name = "WORD", value_parser = DECISIONS)]
    decision: Option<String>,
    /// Only decisions with this reason, and batches with such a member
    #[arg(long, value_name = "WORD", value_parser = REASONS)]
    reason: Option<String>,
    /// Only records of this gate
    #[arg(long, value_name = "NAME")]
    gate: Option<String>,
    /// Only the call with this id, which its answer carries as `grantgate-decision`
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only operations that fit this pattern; * is any run of characters
    #[arg(long, value_name = "PATTERN")]
    operation: Option<String>,
    /// Only records of this token id, as `audit id` prints it
    #[arg(long, value_name = "ID")]
    token: Option<String>,
    /// Only the last N of them
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Count the decisions that fit, the most frequent first
    #[arg(long, conflicts_with_all = ["follow", "last"])]
    count: bool,
    /// Go on with the records that are still to come, until stopped
    #[arg(long, short)]
    follow: bool,
    /// The records as they are stored, one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Id {
    #[command(flatten)]
    place: Place,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Verified {
    intact: bool,
    segments: usize,
    records: u64,
    last_seq: u64,
    head: String,
    broken: Option<Broken>,
}

#[derive(Debug, Serialize)]
struct Broken {
    segment: PathBuf,
    problem: String,
}

pub(super) fn run(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Verify(arguments) => verify(arguments),
        Command::Show(arguments) => show(arguments),
        Command::Id(arguments) => id(arguments),
    }
}

/// The words of decisions in records.
const DECISIONS: [&str; 6] = [
    "allow",
    "deny",
    "would_deny",
    "error_allow",
    "error_deny",
    "not_evaluated",
];

/// The words of reasons.
const REASONS: [&str; Reason::ALL.len()] = {
    let mut words = [""; Reason::ALL.len()];
    let mut place = 0;
    while place < words.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            words[place] = Reason::ALL[place].as_str();
        }
        place += 1;
    }
    words
};

fn verify(arguments: &Verify) -> anyhow::Result<u8> {
    let dir = arguments.place.audit_dir()?;
    let terminal = io::stderr().is_terminal();
    let progress = |records: u64| {
        if terminal && records.is_multiple_of(100_000) {
            let _ = write!(io::stderr(), "\r{records} records");
        }
    };
    let summary = match journal::verify(&dir, progress) {
        Ok(summary) => summary,
        Err(error) => {
            complain(&format!(
                "error: cannot read the journal in {}: {error}",
                dir.display()
            ));
            return Ok(USAGE);
        }
    };
    let answer = Verified {
        intact: summary.broken.is_none(),
        segments: summary.segments,
        records: summary.records,
        last_seq: summary.chain.seq,
        head: summary.chain.head.to_string(),
        broken: summary.broken.map(|found| Broken {
            segment: found.path,
            problem: found.error.to_string(),
        }),
    };
    if arguments.json {
        say_json(&answer);
    } else {
        match &answer.broken {
            None => say(&format!(
                "intact: {} records in {} segment{}, the last is {} with hash {}",
                answer.records,
                answer.segments,
                if answer.segments == 1 { "" } else { "s" },
                answer.last_seq,
                answer.head
            )),
            Some(broken) => {
                say(&format!(
                    "broken: {}: {}",
                    broken.segment.display(),
                    broken.problem
                ));
                say(&format!("{} records before it hold", answer.records));
            }
        }
    }
    Ok(if answer.intact { OK } else { NO })
}

fn show(arguments: &Show) -> anyhow::Result<u8> {
    let dir = arguments.place.audit_dir()?;
    let unreadable = || format!("cannot read the journal in {}", dir.display());
    let pattern = arguments.operation.as_deref().map(Pattern::new);
    let mut kept = std::collections::VecDeque::new();
    let mut journal = journal::Follower::new(&dir);
    let mut following = false;
    let mut shown = 0_u64;
    let mut heard = true;
    let mut counts = Counts::default();
    loop {
        let read = journal.read(|line| {
            let Ok(record) = serde_json::from_str::<Value>(line) else {
                complain("warning: a line is no record; run `grantgate audit verify`");
                return;
            };
            if !fits(arguments, pattern.as_ref(), &record) {
                return;
            }
            shown += 1;
            if arguments.count {
                let is = |wanted: &Option<String>, word: &str| {
                    wanted.as_deref().is_none_or(|wanted| wanted == word)
                };
                counts.add(&record, |decision, reason| {
                    is(&arguments.decision, decision) && is(&arguments.reason, reason)
                });
                return;
            }
            let text = if arguments.json {
                line.to_owned()
            } else {
                sentence(&record)
            };
            match arguments.last {
                Some(last) if !following => {
                    kept.push_back(text);
                    if kept.len() > last {
                        kept.pop_front();
                    }
                }
                _ => heard &= tell(&text),
            }
        });
        if let Err(error) = read.with_context(unreadable) {
            complain(&format!("error: {error:#}"));
            return Ok(USAGE);
        }
        for text in kept.drain(..) {
            heard &= tell(&text);
        }
        if !(arguments.follow && heard) {
            break;
        }
        following = true;
        std::thread::sleep(FOLLOW_PAUSE);
    }
    if arguments.count {
        if arguments.json {
            say_json(&counts.json());
        } else {
            counts.print();
        }
    } else if shown == 0 && io::stderr().is_terminal() {
        complain("no record fits");
    }
    Ok(OK)
}

/// How often a journal that is followed is looked at.
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);

fn fits(arguments: &Show, pattern: Option<&Pattern>, record: &Value) -> bool {
    let is = |pointer: &str, wanted: &Option<String>| {
        wanted
            .as_deref()
            .is_none_or(|wanted| text(record, pointer) == Some(wanted))
    };
    let of_members = |pointer: &str, wanted: &Option<String>| {
        children(record).any(|child| text(child, pointer) == wanted.as_deref())
    };
    (is("/decision", &arguments.decision) || of_members("/verdict", &arguments.decision))
        && (is("/reason", &arguments.reason) || of_members("/reason", &arguments.reason))
        && is("/token/ref", &arguments.token)
        && is("/gate", &arguments.gate)
        && (is("/event_id", &arguments.id) || is("/event_group", &arguments.id))
        && pattern.is_none_or(|pattern| {
            let of_members = children(record).filter_map(|child| text(child, "/operation"));
            text(record, "/operation")
                .into_iter()
                .chain(of_members)
                .any(|name| pattern.matches(name))
        })
}

fn id(arguments: &Id) -> anyhow::Result<u8> {
    let key = arguments.place.token_id_key()?;
    if io::stdin().is_terminal() {
        complain("paste the token, then end the line and press Ctrl-D");
    }
    let mut token = Vec::new();
    io::stdin()
        .read_to_end(&mut token)
        .context("cannot read the token from stdin")?;
    while token
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        token.pop();
    }
    if token.is_empty() {
        return Err(WrongUse("no token came by stdin".to_owned()).into());
    }
    let id = key.identify(&Secret::new(token)).to_string();
    if arguments.json {
        say_json(&serde_json::json!({ "ref": id, "token_key": key.fingerprint() }));
    } else {
        say(&id);
    }
    Ok(OK)
}

impl Place {
    /// Where the segments lie.
    fn audit_dir(&self) -> anyhow::Result<PathBuf> {
        match &self.audit_dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(store::audit_dir(&self.state_dir()?)),
        }
    }

    fn state_dir(&self) -> anyhow::Result<PathBuf> {
        match &self.state_dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(Config::load(&self.config)?.state.dir),
        }
    }

    fn token_id_key(&self) -> anyhow::Result<TokenIdKey> {
        if let Some(dir) = &self.state_dir {
            return Ok(store::token_id_key(dir, false)?);
        }
        let config = Config::load(&self.config)?;
        match &config.token_id_key {
            Some(key) => Ok(TokenIdKey::new(key)),
            None => Ok(store::token_id_key(&config.state.dir, false)?),
        }
    }
}
