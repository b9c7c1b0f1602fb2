//! The settings as a page of the documentation.

use std::fmt::Write as _;

use super::{Default, Form, Kind, ROOT, Setting, Table};

/// The settings as Markdown: a table for each table of the configuration.
pub(crate) fn settings_page() -> String {
    let mut text = String::new();
    write_table(&mut text, &ROOT, false);
    text
}

fn write_table(text: &mut String, table: &Table, many: bool) {
    let title = match (table.path, many) {
        ("", _) => "The file itself".to_owned(),
        (path, true) => format!("`[[{path}]]`"),
        (path, false) => format!("`[{path}]`"),
    };
    let plain: Vec<&Setting> = table
        .settings
        .iter()
        .filter(|setting| !matches!(setting.kind, Kind::Table(_) | Kind::Tables(_)))
        .collect();
    if !plain.is_empty() {
        let _ = writeln!(
            text,
            "## {title}\n\n| setting | values | default | what, and why |\n|---|---|---|---|"
        );
    }
    for setting in plain {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            setting.name,
            values(&setting.kind),
            default_words(setting),
            setting.about
        );
    }
    text.push('\n');
    for setting in table.settings {
        match setting.kind {
            Kind::Table(inner) => write_table(text, inner, false),
            Kind::Tables(inner) => write_table(text, inner, true),
            _ => {}
        }
    }
}

fn values(kind: &Kind) -> String {
    match kind {
        Kind::Text(Form::Plain) => "text".to_owned(),
        Kind::Text(Form::Path) => "path".to_owned(),
        Kind::Text(Form::Origin) => "`scheme://host[:port]`".to_owned(),
        Kind::Text(Form::Url) => "URL".to_owned(),
        Kind::Text(Form::Address) => "`ip:port`".to_owned(),
        Kind::Text(Form::Time) => "time (RFC 3339)".to_owned(),
        Kind::Secret => "secret".to_owned(),
        Kind::Flag => "`true`, `false`".to_owned(),
        Kind::Whole(least, most) => format!("{least} to {most}"),
        Kind::Word(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
        Kind::Texts => "list of texts".to_owned(),
        Kind::Table(_) | Kind::Tables(_) => "table".to_owned(),
    }
}

fn default_words(setting: &Setting) -> String {
    match setting.default {
        Default::Required(example) => format!("has to be there; such as `{example}`"),
        Default::Text(text) => format!("`{text}`"),
        Default::Number(number) => number.to_string(),
        Default::Off => "`false`".to_owned(),
        Default::Said(words) => words.to_owned(),
        Default::Nothing => "none".to_owned(),
    }
}
