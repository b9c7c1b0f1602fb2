//! One table of the configuration, read setting by setting.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use toml::de::{DeTable, DeValue};

use super::document::{Document, Placed, Span};
use super::report::Finding;
use super::settings::{Default as Unset, Kind, ROOT, Setting, Table};
use crate::model::edit_distance;

/// One table of the document. Names, bounds and defaults are those of [`super::settings`]; [`Section::finish`] names what
/// is in the file and not there.
pub(super) struct Section<'d, 't> {
    pub(super) document: &'d Document<'t>,
    known: &'static Table,
    table: &'d DeTable<'t>,
    span: Span,
    asked: RefCell<Vec<&'static str>>,
    finished: Cell<bool>,
}

impl<'d, 't> Section<'d, 't> {
    pub(super) fn new(
        document: &'d Document<'t>,
        known: &'static Table,
        table: &'d DeTable<'t>,
        span: Span,
    ) -> Self {
        Self {
            document,
            known,
            table,
            span,
            asked: RefCell::default(),
            finished: Cell::new(false),
        }
    }

    /// Notes something wrong with the section as a whole.
    pub(super) fn problem(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.problem_at(&self.span, message, hint);
    }

    /// Notes something wrong at a place.
    pub(super) fn problem_at(
        &self,
        span: &Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let finding = Finding::new(span, message, hint);
        self.document.problems.borrow_mut().push(finding);
    }

    /// Notes something that should be known.
    pub(super) fn warning_at(
        &self,
        span: &Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let finding = Finding::new(span, message, hint);
        self.document.warnings.borrow_mut().push(finding);
    }

    pub(super) fn value(&self, key: &'static str) -> Option<(&'d DeValue<'t>, Span)> {
        debug_assert!(self.setting(key).is_some(), "{}.{key}", self.known.path);
        self.asked.borrow_mut().push(key);
        self.table
            .get(key)
            .map(|value| (value.get_ref(), value.span()))
    }

    fn setting(&self, key: &str) -> Option<&'static Setting> {
        self.known.setting(key)
    }

    /// True if the setting is there.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn string(&self, key: &'static str) -> Option<Placed<&'d str>> {
        match self.value(key)? {
            (DeValue::String(text), span) => Some(Placed { value: text, span }),
            (other, span) => self.wrong_type(key, other, &span, "a string"),
        }
    }

    /// A string that nothing can stand in for.
    pub(super) fn required(&self, key: &'static str) -> Option<Placed<&'d str>> {
        self.is_there(key).then(|| self.string(key)).flatten()
    }

    /// True if a setting is there that nothing can stand in for; notes it if not.
    pub(super) fn is_there(&self, key: &'static str) -> bool {
        if self.has(key) {
            return true;
        }
        self.asked.borrow_mut().push(key);
        let setting = self.setting(key);
        let example = match setting.map(|setting| (setting.default, &setting.kind)) {
            Some((Unset::Required(example), Kind::Text(_) | Kind::Word(_))) => {
                format!("add {key} = \"{example}\"")
            }
            Some((Unset::Required(example), _)) => format!("add {key} = {example}"),
            _ => format!("add {key}"),
        };
        self.problem(format!("`{key}` is missing"), example);
        false
    }

    pub(super) fn boolean(&self, key: &'static str) -> bool {
        match self.value(key) {
            None => false,
            Some((DeValue::Boolean(value), _)) => *value,
            Some((other, span)) => self
                .wrong_type(key, other, &span, "true or false")
                .unwrap_or_default(),
        }
    }

    pub(super) fn integer(&self, key: &'static str) -> u64 {
        let default = match self.setting(key).map(|setting| setting.default) {
            Some(Unset::Number(number)) => number,
            _ => 0,
        };
        self.integer_or(key, default)
    }

    /// A whole number whose default follows from something else.
    pub(super) fn integer_or(&self, key: &'static str, default: u64) -> u64 {
        let (least, most) = match self.setting(key).map(|setting| &setting.kind) {
            Some(Kind::Whole(least, most)) => (*least, *most),
            _ => (0, u64::MAX),
        };
        match self.value(key) {
            None => default,
            Some((DeValue::Integer(digits), span)) => {
                let number =
                    u64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix()).ok();
                match number {
                    Some(number) if (least..=most).contains(&number) => number,
                    _ => {
                        let hint = format!("the default is {default}");
                        self.problem_at(
                            &span,
                            format!("`{key}` must be between {least} and {most}"),
                            hint,
                        );
                        default
                    }
                }
            }
            Some((other, span)) => self
                .wrong_type(key, other, &span, "a whole number")
                .unwrap_or(default),
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        debug_assert!(
            matches!(self.setting(key).map(|setting| &setting.kind), Some(Kind::Word(known))
                if known.iter().eq(words.iter().map(|(word, _)| word))),
            "{}.{key}",
            self.known.path
        );
        let word = self.string(key)?;
        if let Some((_, value)) = words.iter().find(|(known, _)| *known == word.value) {
            return Some(*value);
        }
        let known = words
            .iter()
            .map(|(known, _)| format!("\"{known}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("`{key}` has no value \"{}\"", printable(word.value));
        self.problem_at(&word.span, message, format!("use one of {known}"));
        None
    }

    pub(super) fn strings(&self, key: &'static str) -> Vec<Placed<&'d str>> {
        match self.value(key) {
            None => Vec::new(),
            Some((DeValue::Array(values), _)) => values
                .iter()
                .filter_map(|value| match value.get_ref() {
                    DeValue::String(text) => Some(Placed {
                        value: text.as_ref(),
                        span: value.span(),
                    }),
                    other => self.wrong_type(key, other, &value.span(), "a list of strings"),
                })
                .collect(),
            Some((other, span)) => {
                self.wrong_type::<()>(key, other, &span, "a list of strings");
                Vec::new()
            }
        }
    }

    pub(super) fn address(&self, key: &'static str) -> Option<SocketAddr> {
        if let (false, Some(Unset::Text(default))) = (
            self.has(key),
            self.setting(key).map(|setting| setting.default),
        ) {
            self.asked.borrow_mut().push(key);
            return default.parse().ok();
        }
        let text = self.required(key)?;
        let parsed = text.value.parse().ok();
        if parsed.is_none() {
            let message = format!("`{key}` is no address with a port");
            self.problem_at(
                &text.span,
                message,
                "write an IP address and a port, such as 127.0.0.1:9404 or [::1]:9404",
            );
        }
        parsed
    }

    pub(super) fn table(&self, key: &'static str) -> Option<Section<'d, 't>> {
        let known = self.inner(key)?;
        match self.value(key)? {
            (DeValue::Table(table), span) => Some(Section::new(self.document, known, table, span)),
            (other, span) => self.wrong_type(key, other, &span, "a table"),
        }
    }

    /// A table; one that is not there, or is none, is as good as an empty one.
    pub(super) fn table_or_empty(&self, key: &'static str) -> Option<Section<'d, 't>> {
        let known = self.inner(key)?;
        let nothing = &self.document.nothing;
        let empty = || Section::new(self.document, known, nothing, 0..0);
        Some(self.table(key).unwrap_or_else(empty))
    }

    /// What is known of the table, or tables, behind a setting.
    fn inner(&self, key: &str) -> Option<&'static Table> {
        match self.setting(key)?.kind {
            Kind::Table(inner) | Kind::Tables(inner) => Some(inner),
            _ => None,
        }
    }

    /// An array of tables: `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'d, 't>> {
        match self.value(key).zip(self.inner(key)) {
            None => Vec::new(),
            Some(((DeValue::Array(values), _), known)) => values
                .iter()
                .filter_map(|value| match value.get_ref() {
                    DeValue::Table(table) => {
                        Some(Section::new(self.document, known, table, value.span()))
                    }
                    other => self.wrong_type(key, other, &value.span(), "a list of tables"),
                })
                .collect(),
            Some(((other, span), _)) => {
                self.wrong_type::<()>(
                    key,
                    other,
                    &span,
                    "a list of tables: write [[…]] with two brackets",
                );
                Vec::new()
            }
        }
    }

    /// Names what stands in the file and is no setting. To be called once all of the section has been read.
    pub(super) fn finish(&self) {
        if self.finished.replace(true) {
            return;
        }
        debug_assert!(
            self.known
                .settings
                .iter()
                .all(|setting| self.asked.borrow().contains(&setting.name)),
            "a setting of [{}] is not read",
            self.known.path
        );
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.setting(name).is_some() {
                continue;
            }
            self.problem_at(
                &key.span(),
                format!("unknown setting `{}`", printable(name)),
                self.meant(name),
            );
        }
    }

    pub(super) fn wrong_type<T>(
        &self,
        key: &str,
        found: &DeValue<'_>,
        span: &Span,
        expected: &str,
    ) -> Option<T> {
        let message = format!("`{key}` must be {expected}, not {}", kind(found));
        let hint = match (expected, found) {
            ("a list of strings", DeValue::String(text)) => {
                format!("write it in brackets: {key} = [\"{}\"]", printable(text))
            }
            ("a list of strings", _) => format!("write {key} = [\"…\", \"…\"]"),
            ("a string", _) => format!("write it in quotes: {key} = \"…\""),
            ("a whole number", _) => format!("write digits without quotes: {key} = 1"),
            ("true or false", _) => format!("write it without quotes: {key} = true"),
            ("a table", _) => format!("write {key} = {{ … }}, or [{key}] on a line of its own"),
            _ => format!("write {key} as {expected}"),
        };
        self.problem_at(span, message, hint);
        None
    }

    /// What somebody may have meant by the name of no setting here.
    fn meant(&self, name: &str) -> String {
        let near = |table: &'static Table| {
            let names = table.settings.iter().map(|setting| setting.name);
            names
                .map(|known| (edit_distance(known, name), known))
                .min()
                .filter(|(distance, _)| *distance <= 2)
        };
        if let Some((_, known)) = near(self.known) {
            return format!("did you mean `{known}`?");
        }
        let elsewhere = ROOT
            .settings
            .iter()
            .filter_map(|setting| match setting.kind {
                Kind::Table(table) => Some((near(table)?, format!("[{}]", setting.name))),
                Kind::Tables(table) => Some((near(table)?, format!("[[{}]]", setting.name))),
                _ => None,
            })
            .min();
        if let Some(((_, known), place)) = elsewhere {
            return format!("`{known}` is a setting of {place}: write it below that line");
        }
        let mut known: Vec<&str> = self
            .known
            .settings
            .iter()
            .map(|setting| setting.name)
            .collect();
        known.sort_unstable();
        format!("known here: {}", known.join(", "))
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Text from the file as a message may show it: no control characters, not endless.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(60)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
