//! What is wrong with a configuration, told as a compiler would.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::Span;

/// Something found at a place of the text.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) hint: String,
}

/// A configuration that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// All that is wrong in it.
    #[error("{}", Listing(problems))]
    Invalid {
        /// Each problem with its place.
        problems: Vec<Notice>,
    },
}

/// A problem or a warning, with its place in the file and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The line's text; a secret in it is masked.
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    width: usize,
}

struct Listing<'n>(&'n [Notice]);

impl Finding {
    pub(super) fn locate(self, path: &Path, text: &str) -> Notice {
        let start = self.span.start.min(text.len());
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text
            .get(line_start..)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let marked = text
            .get(start..self.span.end.min(text.len()))
            .unwrap_or_default();
        let width = marked
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            .max(1);
        Notice {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            message: self.message,
            hint: self.hint,
            text: mask(line),
            width,
        }
    }
}

/// A line as it may be shown: the value of a setting that holds a secret is replaced, letter by letter.
fn mask(line: &str) -> String {
    let name = line.trim_start();
    let holds_secret = ["token", "secret", "password", "token_id_key"]
        .iter()
        .any(|key| name.starts_with(key));
    match line.split_once('=') {
        Some((key, value)) if holds_secret && !value.trim_start().starts_with('{') => {
            let masked: String = value
                .chars()
                .map(|c| if c == ' ' || c == '"' { c } else { '*' })
                .collect();
            format!("{key}={masked}")
        }
        _ => line.to_owned(),
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{}", self.message)?;
        writeln!(
            f,
            "{gutter}--> {}:{}:{}",
            self.path.display(),
            self.line,
            self.column
        )?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", self.text)?;
        writeln!(
            f,
            "{gutter} | {}{}",
            " ".repeat(self.column - 1),
            "^".repeat(self.width)
        )?;
        write!(f, "{gutter} = hint: {}", self.hint)
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has an error")?,
            count => write!(f, "the configuration has {count} errors")?,
        }
        self.0
            .iter()
            .try_for_each(|notice| write!(f, "\n\n{notice}"))
    }
}
