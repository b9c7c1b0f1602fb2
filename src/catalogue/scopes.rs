//! Scope codes, and what each stands for beside itself.

use rustc_hash::FxHashMap;

use super::text::{CatalogueError, Row, dash, rows};

/// What is known of a scope code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeInfo {
    /// The code as the vendor spells it.
    pub code: Box<str>,
    /// The vendor's name for it.
    pub name: Box<str>,
    /// True if the vendor advises against it.
    pub deprecated: bool,
    /// What it opens, in words.
    pub covers: Box<str>,
    /// The codes that it stands for beside itself, separated by `, `; one after `=` without what that stands for.
    pub includes: Box<str>,
    /// Where it is documented.
    pub source: Box<str>,
    /// What else is known of it.
    pub note: Box<str>,
}

const SCOPE_COLUMNS: &str = "scope\tname\ttool\taliases\tstatus\tcovers\tincludes\tsource\tnote";
pub(super) fn read(text: &str) -> Result<Vec<ScopeInfo>, CatalogueError> {
    let mut scopes: Vec<ScopeInfo> = Vec::new();
    for row in rows("scopes.tsv", SCOPE_COLUMNS, text) {
        let (
            row,
            [
                code,
                name,
                _tool,
                _aliases,
                status,
                covers,
                includes,
                source,
                note,
            ],
        ) = row?;
        if scopes.last().is_some_and(|last| last.code.as_ref() >= code) {
            return Err(row.wrong(format!("`{code}` is not in order or stands twice")));
        }
        scopes.push(ScopeInfo {
            code: code.into(),
            name: dash(name),
            deprecated: row.is_deprecated(status)?,
            covers: dash(covers),
            includes: dash(includes),
            source: source.into(),
            note: dash(note),
        });
    }
    Ok(scopes)
}

/// Codes by the code that stands for them.
pub(super) type Closures = FxHashMap<Box<str>, Box<[Box<str>]>>;

/// What each code stands for beside itself: the closure of what the table says.
pub(super) fn closures(scopes: &[ScopeInfo]) -> Result<Closures, CatalogueError> {
    let info = |code: &str| {
        let place = scopes.binary_search_by(|info| info.code.as_ref().cmp(code));
        place.ok().and_then(|place| scopes.get(place))
    };
    let mut closures = FxHashMap::default();
    for scope in scopes {
        let mut closure: Vec<&str> = Vec::new();
        let mut open: Vec<&str> = codes_in(&scope.includes).collect();
        while let Some(code) = open.pop() {
            let alone = code.strip_prefix('=');
            let code = alone.unwrap_or(code);
            let Some(info) = info(code) else {
                let problem = format!("`{}` includes `{code}`, which has no line", scope.code);
                return Err(Row {
                    file: "scopes.tsv",
                    line: 0,
                }
                .wrong(problem));
            };
            if code != scope.code.as_ref() && !closure.contains(&code) {
                closure.push(code);
                if alone.is_none() {
                    open.extend(codes_in(&info.includes));
                }
            }
        }
        if !closure.is_empty() {
            let closure = closure.into_iter().map(Into::into).collect();
            closures.insert(scope.code.clone(), closure);
        }
    }
    Ok(closures)
}

/// Codes in a cell. They are separated by `, `, since a code may hold a blank.
fn codes_in(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(", ").filter(|code| !code.is_empty())
}
