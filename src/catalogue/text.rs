//! The text format of a catalogue: tables with one line an entry, tabs between the columns, `#` before remarks.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustc_hash::FxHashMap;

use super::CatalogueText;
use super::routes::Routes;
use super::scopes::ScopeInfo;
use crate::model::{
    Access, ApiVersion, Condition, Confidence, Operation, Provenance, Requirement, ScopeSet,
};

/// What a need asks for where a parameter has this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceRow {
    /// The parameter's name.
    pub parameter: Box<str>,
    /// The value; `*` stands for any run of characters.
    pub value: Box<str>,
    /// What it asks for.
    pub requirement: Requirement,
    /// Where it is documented.
    pub source: Box<str>,
}

/// A line of a catalogue that is not in the format.
#[derive(Debug, thiserror::Error)]
#[error("{file}, line {line}: {problem}")]
pub struct CatalogueError {
    file: &'static str,
    line: usize,
    problem: String,
}

const OPERATION_COLUMNS: &str =
    "version\toperation\trequirement\taccess\twho\tstatus\tconfidence\tsource\tnote";
/// The longest name of an operation, in bytes.
const LONGEST_NAME: usize = 160;

const CHOICE_COLUMNS: &str = "parameter\tvalue\trequirement\tstatus\tconfidence\tsource\tnote";
const PREFIX_COLUMNS: &str = "prefix\trequirement\tsource";
const ROUTE_COLUMNS: &str = "verbs\tpath\toperation";

pub(super) fn choices(text: &str, scopes: &[ScopeInfo]) -> Result<Vec<ChoiceRow>, CatalogueError> {
    let mut choices: Vec<ChoiceRow> = Vec::new();
    if text.is_empty() {
        return Ok(choices);
    }
    for row in rows("choices.tsv", CHOICE_COLUMNS, text) {
        let (
            row,
            [
                parameter,
                value,
                requirement,
                status,
                _confidence,
                source,
                _note,
            ],
        ) = row?;
        let key = |parameter: &str, value: &str| {
            (parameter.to_ascii_lowercase(), value.to_ascii_lowercase())
        };
        if choices
            .last()
            .is_some_and(|last| key(&last.parameter, &last.value) >= key(parameter, value))
        {
            return Err(row.wrong(format!("`{value}` is not in order or stands twice")));
        }
        row.is_deprecated(status)?;
        choices.push(ChoiceRow {
            parameter: parameter.into(),
            value: value.into(),
            requirement: row.fixed(requirement, scopes)?,
            source: source.into(),
        });
    }
    Ok(choices)
}

pub(super) fn prefixes(
    text: &str,
    scopes: &[ScopeInfo],
) -> Result<Vec<(Box<str>, Requirement)>, CatalogueError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    rows("prefixes.tsv", PREFIX_COLUMNS, text)
        .map(|row| {
            let (row, [prefix, requirement, _source]) = row?;
            Ok((
                prefix.to_ascii_lowercase().into(),
                row.fixed(requirement, scopes)?,
            ))
        })
        .collect()
}

/// The routes of operations: those of the table, and those that a name says itself.
pub(super) fn routes(
    text: &str,
    operations: &[Arc<Operation>],
) -> Result<Routes<Arc<Operation>>, CatalogueError> {
    let mut routes = Routes::default();
    for operation in operations {
        if let Some((verb, path)) = operation.name.split_once(' ')
            && !routes.add(verb, path, Arc::clone(operation))
        {
            let row = Row {
                file: "operations.tsv",
                line: 0,
            };
            return Err(row.wrong(format!("`{}` stands twice", operation.name)));
        }
    }
    if text.is_empty() {
        return Ok(routes);
    }
    let by_name: FxHashMap<&str, &Arc<Operation>> = operations
        .iter()
        .map(|operation| (operation.name.as_ref(), operation))
        .collect();
    for row in rows("routes.tsv", ROUTE_COLUMNS, text) {
        let (row, [verbs, path, name]) = row?;
        let Some(operation) = by_name.get(name) else {
            return Err(row.wrong(format!("`{name}` is no operation of operations.tsv")));
        };
        for verb in verbs.split(',') {
            if !routes.add(verb, path, Arc::clone(operation)) {
                return Err(row.wrong(format!("`{verb} {path}` leads somewhere already")));
            }
        }
    }
    Ok(routes)
}

pub(super) fn operations(
    text: &str,
    scopes: &[ScopeInfo],
) -> Result<Vec<Operation>, CatalogueError> {
    let mut operations: Vec<Operation> = Vec::new();
    for row in rows("operations.tsv", OPERATION_COLUMNS, text) {
        let (
            row,
            [
                version,
                name,
                requirement,
                access,
                who,
                status,
                confidence,
                source,
                note,
            ],
        ) = row?;
        let Some(version) = ApiVersion::parse(version) else {
            return Err(row.wrong(format!("unknown version `{version}`")));
        };
        if name.is_empty()
            || name.len() > LONGEST_NAME
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return Err(row.wrong(format!("`{name}` is no operation name")));
        }
        let key = |version: ApiVersion, name: &str| (version, name.to_ascii_lowercase());
        if operations
            .last()
            .is_some_and(|last| key(last.version, &last.name) >= key(version, name))
        {
            return Err(row.wrong(format!("`{name}` is not in order or stands twice")));
        }
        let index = u32::try_from(operations.len())
            .map_err(|_| row.wrong("too many operations".to_owned()))?;
        operations.push(Operation {
            index,
            version,
            name: name.into(),
            requirement: row.requirement(requirement, scopes)?,
            access: match access {
                "read" => Access::Read,
                "write" => Access::Write,
                "unknown" => Access::Unknown,
                other => return Err(row.wrong(format!("unknown access `{other}`"))),
            },
            who: who.into(),
            deprecated: row.is_deprecated(status)?,
            provenance: Provenance {
                source: source.into(),
                confidence: match confidence {
                    "documented" => Confidence::Documented,
                    "observed" => Confidence::Observed,
                    "assumed" => Confidence::Assumed,
                    other => return Err(row.wrong(format!("unknown confidence `{other}`"))),
                },
                note: dash(note),
            },
        });
    }
    Ok(operations)
}

/// The day or month up to which the tables tell what the vendor documents: a remark at the head of the operations.
pub(super) fn as_of(text: CatalogueText<'_>) -> &str {
    let mut remarks = text
        .operations
        .lines()
        .map_while(|line| line.strip_prefix("# "));
    remarks
        .find_map(|remark| remark.strip_prefix("as of: "))
        .unwrap_or("unknown")
}

/// First eight hex digits of the SHA-256 over the tables.
pub(super) fn digest(text: CatalogueText<'_>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(text.operations.as_bytes());
    context.update(text.scopes.as_bytes());
    context.update(text.choices.as_bytes());
    context.update(text.prefixes.as_bytes());
    context.update(text.routes.as_bytes());
    let first = context
        .finish()
        .as_ref()
        .first_chunk::<4>()
        .copied()
        .unwrap_or_default();
    format!("{:08x}", u32::from_be_bytes(first))
}

/// The entries of a table. The first line that is no remark must name the columns.
pub(super) fn rows<'t, const N: usize>(
    file: &'static str,
    columns: &'static str,
    text: &'t str,
) -> impl Iterator<Item = Result<(Row, [&'t str; N]), CatalogueError>> {
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    let head = match lines.next() {
        Some((_, head)) if head == columns => None,
        Some((index, _)) => Some(
            Row {
                file,
                line: index + 1,
            }
            .wrong(format!("expected the columns `{columns}`")),
        ),
        None => Some(Row { file, line: 1 }.wrong("the table is empty".to_owned())),
    };
    let entries = lines.map(move |(index, line)| {
        let row = Row {
            file,
            line: index + 1,
        };
        let cells: Vec<&str> = line.split('\t').collect();
        match <[&str; N]>::try_from(cells) {
            Ok(cells) => Ok((row, cells)),
            Err(cells) => Err(row.wrong(format!("{} columns instead of {N}", cells.len()))),
        }
    });
    head.map(Err).into_iter().chain(entries)
}

#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) file: &'static str,
    pub(super) line: usize,
}

impl Row {
    pub(super) fn wrong(self, problem: String) -> CatalogueError {
        CatalogueError {
            file: self.file,
            line: self.line,
            problem,
        }
    }

    pub(super) fn is_deprecated(self, status: &str) -> Result<bool, CatalogueError> {
        match status {
            "current" => Ok(false),
            "deprecated" => Ok(true),
            other => Err(self.wrong(format!("unknown status `{other}`"))),
        }
    }

    /// A requirement that hangs on nothing.
    fn fixed(self, text: &str, scopes: &[ScopeInfo]) -> Result<Requirement, CatalogueError> {
        match self.requirement(text, scopes)? {
            Requirement::Conditional(_) => {
                Err(self.wrong(format!("`{text}` hangs on a parameter itself")))
            }
            fixed => Ok(fixed),
        }
    }

    /// `open`, `none`, `unknown`, or alternatives joined by `|`, each a set joined by `+` with at most one `{parameter}`.
    fn requirement(self, text: &str, scopes: &[ScopeInfo]) -> Result<Requirement, CatalogueError> {
        match text {
            "open" => return Ok(Requirement::Open),
            "none" => return Ok(Requirement::NoScope),
            "unknown" => return Ok(Requirement::Unknown),
            _ => {}
        }
        let alternatives = text
            .split('|')
            .map(|set| self.alternative(set, scopes))
            .collect::<Result<Vec<_>, _>>()?;
        let mut parameters = alternatives.iter().filter_map(Condition::name);
        if let Some(first) = parameters.next()
            && parameters.any(|other| other != first)
        {
            return Err(self.wrong("the need hangs on two parameters".to_owned()));
        }
        if alternatives.iter().any(|one| !one.parameter.is_empty()) {
            return Ok(Requirement::Conditional(alternatives.into_boxed_slice()));
        }
        Ok(Requirement::AnyOf(
            alternatives.into_iter().map(|one| one.scopes).collect(),
        ))
    }

    fn alternative(self, set: &str, scopes: &[ScopeInfo]) -> Result<Condition, CatalogueError> {
        let mut parameter = "";
        let mut codes = Vec::new();
        for code in set.split('+') {
            if code.starts_with('{') && code.ends_with('}') && parameter.is_empty() {
                parameter = code;
            } else if scopes
                .binary_search_by(|info| info.code.as_ref().cmp(code))
                .is_ok()
            {
                codes.push(code);
            } else {
                return Err(self.wrong(format!("`{code}` is no scope of scopes.tsv")));
            }
        }
        Ok(Condition {
            scopes: ScopeSet::new(codes),
            parameter: parameter.into(),
        })
    }
}

pub(super) fn dash(cell: &str) -> Box<str> {
    if cell == "-" { "".into() } else { cell.into() }
}
