//! The only places that print.

use std::io::{self, IsTerminal, Write};

/// Prints a line to stdout. A reader that has gone away ends the printing, not the program.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line to stderr.
pub(super) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
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
