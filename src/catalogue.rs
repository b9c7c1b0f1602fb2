//! What is known of a vendor's operations: the requirement of each, with its provenance.
//!
//! The knowledge lies in `config/catalogue/` as text that people review, and is compiled in. One look-up answers
//! what an operation needs.

mod choices;
mod routes;
mod scopes;
mod text;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use choices::{Choices, Prefixes};
pub use routes::Routed;
use routes::Routes;
pub use scopes::ScopeInfo;
pub use text::{CatalogueError, ChoiceRow};

use crate::model::{ApiVersion, Holding, Operation, Pattern, Requirement, ScopeSet, edit_distance};

/// The text of a catalogue before it is read: two tables in the format that their first lines explain.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueText<'t> {
    /// `operations.tsv`: one line an operation.
    pub operations: &'t str,
    /// `scopes.tsv`: one line a scope code.
    pub scopes: &'t str,
    /// `choices.tsv`: one line a value that a need hangs on; empty where the vendor has none.
    pub choices: &'t str,
    /// `prefixes.tsv`: the vendor's rule for names that no table has; empty where it has none.
    pub prefixes: &'t str,
    /// `routes.tsv`: verbs and path of each operation; empty where a name says them itself, or no path does.
    pub routes: &'t str,
}

/// The operations and scope codes of one vendor.
#[derive(Debug)]
pub struct Catalogue {
    operations: Vec<Arc<Operation>>,
    /// By folded name. Fixed once read: a client chooses what is looked up, not what is in it.
    by_name: HashTable<Arc<Operation>>,
    choices: Choices,
    choice_rows: Vec<ChoiceRow>,
    prefixes: Prefixes,
    routes: Routes<Arc<Operation>>,
    filters: Routes<Requirement>,
    /// What each code stands for beside itself.
    stands_for: scopes::Closures,
    scopes: Vec<ScopeInfo>,
    edition: Edition,
}

impl Catalogue {
    /// Reads a catalogue from its text.
    ///
    /// # Errors
    /// The first line that is not in the format, by file and number.
    pub fn parse(text: CatalogueText<'_>) -> Result<Self, CatalogueError> {
        let scopes = scopes::read(text.scopes)?;
        let operations = text::operations(text.operations, &scopes)?;
        let operations: Vec<Arc<Operation>> = operations.into_iter().map(Arc::new).collect();
        let mut by_name = HashTable::with_capacity(operations.len());
        for operation in &operations {
            let hash = folded_hash(operation.version, &operation.name);
            by_name.insert_unique(hash, Arc::clone(operation), |one| {
                folded_hash(one.version, &one.name)
            });
        }
        let codes: Vec<&str> = scopes.iter().map(|info| info.code.as_ref()).collect();
        let mut choice_rows = text::choices(text.choices, &scopes)?;
        choice_rows.sort_by(|one, other| one.parameter.cmp(&other.parameter));
        let prefixes = Prefixes::new(text::prefixes(text.prefixes, &scopes)?, &codes);
        let choices = Choices::new(operations.iter().map(AsRef::as_ref), &choice_rows, &codes);
        let routes = text::routes(text.routes, &operations)?;
        let mut filters = Routes::default();
        for row in choice_rows.iter().filter(|row| row.value.starts_with('/')) {
            filters.add("", &row.value, row.requirement.clone());
        }
        let stands_for = scopes::closures(&scopes)?;
        let edition = Edition::of(text);
        Ok(Self {
            operations,
            by_name,
            choices,
            choice_rows,
            prefixes,
            routes,
            filters,
            stands_for,
            scopes,
            edition,
        })
    }

    /// The operation with this version and name; ASCII case is folded, as Bitrix24 folds it.
    pub fn find(&self, version: ApiVersion, name: &str) -> Option<&Operation> {
        let hash = folded_hash(version, name);
        let is_it =
            |one: &&Arc<Operation>| one.version == version && one.name.eq_ignore_ascii_case(name);
        self.by_name
            .find(hash, |one| is_it(&one))
            .map(AsRef::as_ref)
    }

    /// Where a verb and a path lead, for vendors whose operations are told so. The path has no query.
    pub fn route<'c, 'p>(&'c self, verb: &str, path: &'p str) -> Routed<'c, 'p, Arc<Operation>> {
        self.routes.find(verb, path)
    }

    /// A verb and the template of the path that lead to an operation; `None` if none do.
    pub fn path_of(&self, operation: &Operation) -> Option<(String, String)> {
        self.routes
            .template(|leads_to| leads_to.index == operation.index)
    }

    /// What a subscription to the events of this path asks for, for vendors whose events are told so. The path has no
    /// query.
    pub fn filter<'c, 'p>(&'c self, path: &'p str) -> Routed<'c, 'p, Requirement> {
        self.filters.find("", path)
    }

    /// What this value of a parameter asks for, whatever the operation; ASCII case is folded.
    pub fn chosen(&self, parameter: &str, value: &str) -> Option<&Requirement> {
        let fits = |row: &&ChoiceRow| {
            row.parameter.as_ref() == parameter && row.value.eq_ignore_ascii_case(value)
        };
        self.choice_rows
            .iter()
            .find(fits)
            .map(|row| &row.requirement)
    }

    /// A path as records may show it where no template fits: what stands in a template at its place, and `{}` for the
    /// rest.
    pub fn outline(&self, path: &str) -> String {
        self.routes.outline(path)
    }

    /// What a token holds that was granted these codes: with each everything that it stands for by the vendor's rules.
    pub fn holding<'s>(
        &self,
        granted: impl IntoIterator<Item = &'s str>,
        code_of: impl Fn(&'s str) -> &'s str,
    ) -> Holding {
        let granted: Vec<&str> = granted.into_iter().collect();
        let codes = granted.iter().map(|granted| code_of(granted));
        let opens = codes.flat_map(|code| {
            let more = self
                .stands_for
                .get(code)
                .map_or([].as_slice(), AsRef::as_ref);
            std::iter::once(code).chain(more.iter().map(AsRef::as_ref))
        });
        Holding::new(granted.iter().copied().collect(), opens.collect())
    }

    /// What an operation whose need hangs on a parameter asks for with this value, or without one; `None` where that
    /// is not known.
    pub fn choose(&self, operation: &Operation, value: Option<&str>) -> Option<&Requirement> {
        self.choices.find(operation.index, value)
    }

    /// Every value that a need hangs on, sorted by parameter.
    pub fn choices(&self) -> &[ChoiceRow] {
        &self.choice_rows
    }

    /// The values of one parameter that a need hangs on.
    pub fn choices_of(&self, parameter: &str) -> &[ChoiceRow] {
        let rows = &self.choice_rows;
        let begins = rows.partition_point(|row| row.parameter.as_ref() < parameter);
        let rows = rows.get(begins..).unwrap_or_default();
        let count = rows
            .iter()
            .take_while(|row| row.parameter.as_ref() == parameter);
        rows.get(..count.count()).unwrap_or_default()
    }

    /// What the vendor's own rule for names asks for where no table has the name: assumed, not documented. A name of
    /// another version of the API is not taken for one of this.
    pub fn assume(&self, version: ApiVersion, name: &str) -> Option<&Requirement> {
        let other = match version {
            ApiVersion::V2 => ApiVersion::V3,
            ApiVersion::V3 | ApiVersion::Sole => return None,
        };
        if self.find(other, name).is_some() {
            return None;
        }
        self.prefixes.find(name)
    }

    /// The operation at a position.
    pub fn get(&self, index: u32) -> Option<&Operation> {
        self.operations
            .get(usize::try_from(index).ok()?)
            .map(AsRef::as_ref)
    }

    /// Every operation, sorted by version and name.
    pub fn operations(&self) -> impl ExactSizeIterator<Item = &Operation> {
        self.operations.iter().map(AsRef::as_ref)
    }

    /// Every scope code, sorted.
    pub fn scopes(&self) -> &[ScopeInfo] {
        &self.scopes
    }

    /// True if the vendor has this scope code.
    pub fn has_scope(&self, code: &str) -> bool {
        self.scopes
            .binary_search_by(|info| info.code.as_ref().cmp(code))
            .is_ok()
    }

    /// The operations that a token with this one scope may call and a token without may not.
    pub fn opened_by(&self, scope: &str) -> impl Iterator<Item = &Operation> {
        let holding = self.holding([scope], |code| code);
        let touches = move |set: &ScopeSet| holding.opens().iter().any(|code| set.contains(code));
        self.operations()
            .filter(move |operation| match &operation.requirement {
                Requirement::AnyOf(sets) => sets.iter().any(&touches),
                Requirement::Conditional(alternatives) => {
                    alternatives.iter().any(|one| touches(&one.scopes))
                }
                Requirement::Open | Requirement::NoScope | Requirement::Unknown => false,
            })
    }

    /// True if some operation fits the pattern, by its name or by its name with the version before it (`v3:…`).
    pub fn any_matches(&self, pattern: &Pattern) -> bool {
        self.operations().any(|operation| {
            pattern.matches(&operation.name)
                || pattern.matches(&format!(
                    "{}:{}",
                    operation.version.as_str(),
                    operation.name
                ))
        })
    }

    /// A short digest of the catalogue's text: tells one state of the knowledge from another.
    pub fn version(&self) -> &str {
        &self.edition.version
    }

    /// Which state of the knowledge it is.
    pub fn edition(&self) -> &Edition {
        &self.edition
    }

    /// Names that look like `name`: what someone who mistyped it may have meant, nearest first, at most three.
    pub fn similar(&self, version: ApiVersion, name: &str) -> Vec<&str> {
        let wanted = name.to_ascii_lowercase();
        let last = wanted.rsplit('.').next().unwrap_or_default();
        let mut ranked: Vec<(usize, &str)> = self
            .operations()
            .filter(|operation| operation.version == version)
            .map(|operation| {
                (
                    edit_distance(&wanted, &operation.name.to_ascii_lowercase()),
                    operation.name.as_ref(),
                )
            })
            .filter(|(distance, found)| *distance <= 3 || (*distance <= 5 && found.ends_with(last)))
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

/// Which state of the knowledge a catalogue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// A short digest of its text.
    pub version: String,
    /// The day or month up to which it tells what the vendor documents, as ISO 8601 writes it; `unknown` if it does not say.
    pub as_of: String,
}

impl Edition {
    /// Reads it from the tables, which need not be sound.
    pub fn of(text: CatalogueText<'_>) -> Self {
        Self {
            version: text::digest(text),
            as_of: text::as_of(text).to_owned(),
        }
    }
}

/// A scope set's text for people: `crm`, `crm + sign.b2e`.
pub fn describe_set(set: &ScopeSet) -> String {
    set.iter().collect::<Vec<_>>().join(" + ")
}

/// A requirement's text for people.
pub fn describe(requirement: &Requirement) -> String {
    match requirement {
        Requirement::Open => "nothing: the vendor answers it without a token".to_owned(),
        Requirement::NoScope => "no scope".to_owned(),
        Requirement::Unknown => "not documented".to_owned(),
        Requirement::AnyOf(sets) => sets
            .iter()
            .map(describe_set)
            .collect::<Vec<_>>()
            .join(", or "),
        Requirement::Conditional(alternatives) => alternatives
            .iter()
            .map(|one| {
                let Some(name) = one.name() else {
                    return describe_set(&one.scopes);
                };
                let rest = if name.contains('/') {
                    // The action's own name: conditions on what its request says.
                    "more where the request says so".to_owned()
                } else if one.is_optional() {
                    format!("what `{name}` asks for, where the call has one")
                } else {
                    format!("what `{name}` of the call asks for")
                };
                if one.scopes.is_empty() {
                    rest
                } else {
                    format!("{} + {rest}", describe_set(&one.scopes))
                }
            })
            .collect::<Vec<_>>()
            .join(", or "),
    }
}

/// A hash that is the same for names that differ only by ASCII case: eight bytes at a time, each with its case bit set.
/// Names that differ otherwise may share it; the look-up compares.
fn folded_hash(version: ApiVersion, name: &str) -> u64 {
    const CASE_BITS: u64 = 0x2020_2020_2020_2020;
    let mut hasher = FxHasher::default();
    version.hash(&mut hasher);
    let bytes = name.as_bytes();
    hasher.write_usize(bytes.len());
    if let Some(end) = bytes.last_chunk::<8>() {
        // The last word overlaps the one before it, so that no byte is looked at alone.
        for word in bytes.as_chunks::<8>().0.iter().chain([end]) {
            hasher.write_u64(u64::from_le_bytes(*word) | CASE_BITS);
        }
    } else {
        for byte in bytes {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
    }
    hasher.finish()
}
