//! What is wrong with a configuration, told as a compiler would.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::Span;
use super::files::Files;

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
        /// The files that it leads to, as far as it could be read.
        files: Files,
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
    pub(super) fn new(span: &Span, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            span: span.clone(),
            message: message.into(),
            hint: hint.into(),
        }
    }

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

/// Settings that hold a secret, where it is not said where the secret is.
const SECRETS: [&str; 6] = [
    "token",
    "secret",
    "password",
    "token_id_key",
    "client_secret",
    "redis",
];

/// True if all that stands in braces says where the secret is.
fn says_where(inner: &str) -> bool {
    let inner = inner.split('}').next().unwrap_or_default();
    inner.split(',').all(|pair| {
        let key = pair.split('=').next().unwrap_or_default();
        matches!(key.trim().trim_matches(['"', '\'']), "env" | "file")
    })
}

/// The columns that a hint takes at most.
const WIDTH: usize = 80;

/// As [`mask_path`], for an address that was written without its scheme.
fn mask_bare(line: &str) -> String {
    let Some((key, value)) = line.split_once('=') else {
        return line.to_owned();
    };
    let names = ["upstream", "authorization_server", "endpoint", "connect"];
    let quoted = value.trim_start().strip_prefix(['"', '\'']);
    match quoted.filter(|text| names.contains(&key.trim()) && !text.contains("://")) {
        Some(text) => {
            let start = line.len() - text.len();
            let end = text.find(['"', '\'']).unwrap_or(text.len());
            let (address, after) = text.split_at(end);
            line.get(..start).unwrap_or_default().to_owned() + &host_of(address) + after
        }
        None => line.to_owned(),
    }
}

/// A line whose addresses end with their host: a webhook's URL, pasted whole, holds its secret behind it.
fn mask_path(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
        let (address, after) = address.split_at(address.find(ends).unwrap_or(address.len()));
        shown.push_str(&host_of(address));
        rest = after;
    }
    shown + rest
}

/// An address with what stands before and behind its host masked.
fn host_of(address: &str) -> String {
    let stars = |text: &str| "*".repeat(text.chars().count());
    let end = address
        .find(['/', '?', '#'])
        .map_or(address.len(), |at| at + 1);
    let (host, path) = address.split_at(end);
    let (user, host) = match host.rsplit_once('@') {
        Some((user, host)) => (stars(user) + "@", host),
        None => (String::new(), host),
    };
    user + host + &stars(path)
}

/// A line as it may be shown: what follows the name of a setting that holds a secret is replaced, letter by letter.
fn mask(line: &str) -> String {
    let line = &mask_path(&mask_bare(line));
    let begin = SECRETS.iter().flat_map(|key| {
        line.match_indices(key).filter_map(|(at, _)| {
            let (before, rest) = (line.get(..at)?, line.get(at + key.len()..)?);
            let whole = !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'));
            let rest = rest.strip_prefix(['"', '\'']).unwrap_or(rest);
            let value = rest.trim_start().strip_prefix('=')?;
            let place = value.trim_start().strip_prefix('{').is_some_and(says_where);
            (whole && !place).then_some(line.len() - value.len())
        })
    });
    let Some((shown, hidden)) = begin.min().and_then(|at| line.split_at_checked(at)) else {
        return line.to_owned();
    };
    let masked = hidden
        .chars()
        .map(|c| if c == ' ' || c == '"' { c } else { '*' });
    shown.chars().chain(masked).collect()
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
        // A hint is prose: it is folded as a terminal wants it.
        let (first, others) = (format!("{gutter} = hint: "), " ".repeat(gutter.len() + 9));
        let options = textwrap::Options::new(WIDTH)
            .initial_indent(&first)
            .subsequent_indent(&others)
            .break_words(false)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        f.write_str(&textwrap::fill(&self.hint, options))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        for (line, shown) in [
            (r#"token = "abc""#, r#"token = "***""#),
            (r#"token = { env = "NAME" }"#, r#"token = { env = "NAME" }"#),
            (r#"unknown_token = "ask""#, r#"unknown_token = "ask""#),
            (r#""token"="abc""#, r#""token"="***""#),
            (
                r#"redis = "redis://:pw@h/0""#,
                r#"redis = "***************""#,
            ),
            (r#"redis_ca = "ca.pem""#, r#"redis_ca = "ca.pem""#),
            (
                r#"upstream = "p.example/rest/1/abc/""#,
                r#"upstream = "p.example/***********""#,
            ),
            (
                r#"upstream = "https://user:pw@p.example""#,
                r#"upstream = "https://*******@p.example""#,
            ),
            (
                r#"token = { value = "abc" }"#,
                r#"token = * ***** * "***" *"#,
            ),
            (
                r#"token = { env = "A", file = "B" }"#,
                r#"token = { env = "A", file = "B" }"#,
            ),
            (
                r#"upstream = "https://p.example/rest/1/abc/" # or https://q.example"#,
                r#"upstream = "https://p.example/***********" # or https://q.example"#,
            ),
            (
                r#"introspection = { client_id = "a", client_secret = "b" }"#,
                r#"introspection = { client_id = "a", client_secret = "*" *"#,
            ),
        ] {
            assert_eq!(mask(line), shown);
        }
    }
}
