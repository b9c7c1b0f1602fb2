//! The only places that print.

use std::io::{self, IsTerminal, Write};

/// Prints a line to stdout. A reader that has gone away ends the printing, not the program.
pub(super) fn say(line: &str) {
    let _ = tell(line);
}

/// As [`say`]; false if nobody reads any more.
pub(super) fn tell(line: &str) -> bool {
    writeln!(io::stdout().lock(), "{line}").is_ok()
}

/// The width in columns that people's output fits where it can.
const WIDTH: usize = 80;

/// Prints a text under a label, folded: what follows its first line stands below its beginning.
pub(super) fn say_under(label: &str, text: &str) {
    say_folded(&format!("  {label:<8} "), &" ".repeat(11), text);
}

/// Prints a text, folded, with what stands before its first line and before the others.
pub(super) fn say_folded(first: &str, others: &str, text: &str) {
    for line in folded(text, WIDTH, first, others) {
        say(&line);
    }
}

/// Lines no wider than this where words allow it; colours take no room.
pub(super) fn folded(text: &str, width: usize, first: &str, others: &str) -> Vec<String> {
    let options = textwrap::Options::new(width)
        .initial_indent(first)
        .subsequent_indent(others)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    let lines = textwrap::wrap(text, options);
    lines
        .into_iter()
        .map(std::borrow::Cow::into_owned)
        .collect()
}

/// Prints a line to stderr.
pub(super) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints a sentence to stderr, folded where people look at it: what reads a log wants it in one line.
pub(super) fn complain_folded(text: &str) {
    if text.contains('\n') || !io::stderr().is_terminal() {
        return complain(text);
    }
    for line in folded(text, WIDTH, "", "       ") {
        complain(&line);
    }
}

/// Prints a value as JSON.
pub(super) fn say_json(value: &impl serde::Serialize) {
    say(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Colours a word where people look at it. Colour never carries the meaning alone.
pub(super) fn tint(word: &str, colour: Colour) -> String {
    if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\u{1b}[{}m{word}\u{1b}[0m", colour.code())
    } else {
        word.to_owned()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Green,
    Red,
    Yellow,
    Bold,
    Dim,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Bold => "1",
            Self::Dim => "2",
        }
    }
}

/// The colour of a decision's word.
pub(super) fn colour_of(decision: &str) -> Colour {
    match decision {
        "allow" | "permit" => Colour::Green,
        "deny" | "error_deny" => Colour::Red,
        _ => Colour::Yellow,
    }
}
