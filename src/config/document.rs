//! A TOML document read setting by setting, so that one run finds everything that is wrong.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::files::Files;
use super::report::{Finding, Notice};
use super::section::Section;
use super::settings::ROOT;

/// A place in the text, in bytes.
pub(super) type Span = Range<usize>;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// A parsed file, and what has been found in it.
pub(super) struct Document<'t> {
    table: Spanned<DeTable<'t>>,
    /// Stands for tables that are not there.
    pub(super) nothing: DeTable<'t>,
    pub(super) problems: RefCell<Vec<Finding>>,
    pub(super) warnings: RefCell<Vec<Finding>>,
    /// Other files that the settings lead to.
    files: RefCell<Files>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(text: &'t str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let problems = errors
            .into_iter()
            .map(|error| Finding {
                span: error.span().unwrap_or(0..0),
                message: error.message().to_owned(),
                hint: "see https://toml.io for the format".to_owned(),
            })
            .collect();
        Self {
            table,
            nothing: DeTable::new(),
            problems: RefCell::new(problems),
            warnings: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// Notes a file that the configuration is read from as well. To be called before it is read.
    pub(super) fn depends_on(&self, path: impl Into<PathBuf>) {
        self.files.borrow_mut().note(path.into());
    }

    /// The files noted.
    pub(super) fn files(&self) -> Files {
        self.files.borrow().clone()
    }

    /// The top of the document; `None` if it is not TOML.
    pub(super) fn root(&self) -> Option<Section<'_, 't>> {
        self.problems
            .borrow()
            .is_empty()
            .then(|| Section::new(self, &ROOT, self.table.get_ref(), 0..0))
    }

    /// Problems and warnings in the order of their places. A warning that holds in many places is told once.
    pub(super) fn findings(&self, path: &Path, text: &str) -> (Vec<Notice>, Vec<Notice>) {
        let sorted = |findings: &RefCell<Vec<Finding>>| {
            let mut findings = findings.borrow().clone();
            findings.sort_by_key(|finding| finding.span.start);
            findings
        };
        let locate = |findings: Vec<Finding>| {
            findings
                .into_iter()
                .map(|one| one.locate(path, text))
                .collect()
        };
        (
            locate(sorted(&self.problems)),
            locate(told_once(sorted(&self.warnings))),
        )
    }
}

/// The first finding of each message, with the number of the others.
fn told_once(findings: Vec<Finding>) -> Vec<Finding> {
    let mut first: Vec<(Finding, usize)> = Vec::new();
    for finding in findings {
        match first
            .iter_mut()
            .find(|(known, _)| known.message == finding.message)
        {
            Some((_, others)) => *others += 1,
            None => first.push((finding, 0)),
        }
    }
    let told = first.into_iter().map(|(mut finding, others)| {
        if others > 0 {
            finding.message = format!("{}, as in {others} more places", finding.message);
        }
        finding
    });
    told.collect()
}
