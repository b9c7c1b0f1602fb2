//! Where the demo is shown: on a wide terminal the app's side and the journal beside it; else one below the other.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use textwrap::core::display_width;

use crate::audit::Follower;
use crate::cli::output::{Colour, colour_of, folded, say, tint};

/// From this width on the journal stands beside the app, in columns.
const WIDE: usize = 120;

/// The longest wait for how a call ended to be in the journal.
const PATIENCE: Duration = Duration::from_secs(2);

/// The stage, with the journal as far as it was shown.
pub(super) struct Stage {
    journal: Follower,
    /// The columns of the terminal; `None` if nobody looks.
    width: Option<usize>,
}

impl Stage {
    pub(super) fn new(journal: &Path) -> Self {
        let terminal = io::stdout().is_terminal();
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        Self {
            journal: Follower::new(journal),
            width: size
                .filter(|_| terminal)
                .map(|size| usize::from(size.ws_col)),
        }
    }

    /// Shows what was in the journal before the first call.
    pub(super) fn begin(&mut self) {
        let mut before = vec![tint("the journal", Colour::Bold)];
        before.extend(self.news(false));
        self.print(&[], &before);
    }

    /// A new app.
    pub(super) fn title(&self, title: &str) {
        self.print(&[String::new(), tint(title, Colour::Bold)], &[]);
    }

    /// Shows what the app has seen, and what the journal has of it.
    pub(super) fn show(&mut self, lines: &[String]) {
        let called = lines.len() > 1 || lines.iter().any(|line| line.starts_with("again"));
        let records = self.news(called);
        self.print(lines, &records);
    }

    /// What has come into the journal; of a call until its end is there.
    fn news(&mut self, called: bool) -> Vec<String> {
        let since = Instant::now();
        let mut news = Vec::new();
        let mut ended = !called;
        loop {
            let _ = self.journal.read(|line| {
                let record: Value = serde_json::from_str(line).unwrap_or_default();
                ended |= record
                    .get("event_kind")
                    .is_some_and(|kind| kind == "call.completion");
                news.push(brief(&record));
            });
            if ended || since.elapsed() > PATIENCE {
                return news;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn print(&self, app: &[String], journal: &[String]) {
        let Some(width) = self.width.filter(|width| *width >= WIDE) else {
            for line in app {
                say(line);
            }
            for record in journal {
                say(&format!("       {} {record}", tint("│", Colour::Dim)));
            }
            return;
        };
        let left = width * 11 / 20;
        let app = rows(app, left - 2);
        let journal = rows(journal, width - left - 2);
        for row in 0..app.len().max(journal.len()) {
            let cell = |side: &[String]| side.get(row).cloned().unwrap_or_default();
            let (app, record) = (cell(&app), cell(&journal));
            let gap = " ".repeat((left - 1).saturating_sub(display_width(&app)));
            say(&format!("{app}{gap}{} {record}", tint("│", Colour::Dim)));
        }
    }
}

/// A record in few words.
fn brief(record: &Value) -> String {
    let of = |pointer: &str| {
        record
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("-")
    };
    let list = |pointer: &str| {
        let values = record.pointer(pointer).and_then(Value::as_array);
        let words: Vec<&str> = values
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        words.join(" ")
    };
    let number = |pointer: &str| {
        record
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let kind = of("/event_kind");
    let what = match kind {
        "call.decision" => {
            let decision = tint(of("/decision"), colour_of(of("/decision")));
            let missing = match list("/scopes/missing") {
                missing if missing.is_empty() => missing,
                missing => format!(" ({missing})"),
            };
            format!("{decision} {} {}{missing}", of("/operation"), of("/reason"))
        }
        "call.completion" => format!(
            "{} {} in {} µs",
            of("/outcome"),
            number("/response/status"),
            number("/duration_us")
        ),
        "token.captured" => format!("{} {}", of("/token/ref"), list("/scopes/granted")),
        "grant.revoked" => format!("{} {}", of("/token/ref"), of("/cause")),
        _ => of("/gate").replace('-', ""),
    };
    let number = tint(&number("/seq").to_string(), Colour::Dim);
    format!("{number} {} {what}", tint(kind, Colour::Dim))
}

/// Lines no wider than this; what goes on is indented as its line is.
fn rows(lines: &[String], width: usize) -> Vec<String> {
    let rows = lines.iter().flat_map(|line| {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        folded(line.trim_start(), width, &indent, &format!("{indent}  "))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_wide_as_the_column_and_colours_take_none() {
        let line =
            "       The request requires higher privileges than provided by the access token"
                .to_owned();
        let rows = rows(
            &[line.clone(), "\u{1b}[31mdeny\u{1b}[0m short".to_owned()],
            40,
        );
        assert!(rows.iter().all(|row| display_width(row) <= 40), "{rows:?}");
        assert_eq!(
            rows.last().map(|row| display_width(row)),
            Some("deny short".len())
        );
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(&rows[..rows.len() - 1].join(" ")),
            words(&line),
            "nothing is lost"
        );
    }
}
