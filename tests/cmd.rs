//! What the commands print, as text that is read and reviewed: `TRYCMD=overwrite cargo test --test cmd` writes it anew.

use std::fs;
use std::path::Path;

#[test]
fn commands_say_what_is_written_down() {
    trycmd::TestCases::new()
        .env("NO_COLOR", "1")
        .case("tests/cmd/*.md")
        .run();
    // `check` tries the disk where the journal would be.
    let _ =
        fs::remove_dir_all(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/config.in/var"));
}

/// People read this in a terminal of 80 columns. A line that is one word (a URL, a list without spaces), or that the program
/// quotes from the reader's own file, cannot be folded.
#[test]
fn help_fits_eighty_columns() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd");
    let text = fs::read_to_string(dir.join("help.md")).unwrap();
    let mut lines = 0;
    for line in text.lines() {
        lines += 1;
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(lines > 150, "{lines}");
    // Every command stands there.
    for command in [
        "serve",
        "check",
        "demo",
        "emulate",
        "explain",
        "catalogue",
        "audit verify",
        "audit show",
        "audit id",
        "grants list",
        "grants show",
        "grants forget",
        "certs",
        "write config",
        "write schema",
        "write completions",
        "write man",
    ] {
        assert!(
            text.contains(&format!("$ grantgate {command} --help")),
            "{command}"
        );
    }
}
