//! What is known of a vendor's operations: the requirement of each, with its provenance.
//!
//! The knowledge lies in `config/catalogue/` as text that people review, and is compiled in. One look-up answers
//! what an operation needs.

mod text;

use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use text::{CatalogueError, ScopeInfo};

use crate::model::{
    ApiVersion, OPERATION_NAME_CAP, Operation, Pattern, Requirement, ScopeSet, edit_distance,
};

/// The text of a catalogue before it is read: two tables in the format that their first lines explain.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueText<'t> {
    /// `operations.tsv`: one line an operation.
    pub operations: &'t str,
    /// `scopes.tsv`: one line a scope code.
    pub scopes: &'t str,
}

/// The operations and scope codes of one vendor.
#[derive(Debug)]
pub struct Catalogue {
    operations: Vec<Arc<Operation>>,
    /// Fixed once read: a client chooses what is looked up, not what is in it.
    by_name: FxHashMap<(ApiVersion, Box<str>), u32>,
    scopes: Vec<ScopeInfo>,
    version: String,
}

impl Catalogue {
    /// Reads a catalogue from its text.
    ///
    /// # Errors
    /// The first line that is not in the format, by file and number.
    pub fn parse(text: CatalogueText<'_>) -> Result<Self, CatalogueError> {
        let scopes = text::scopes(text.scopes)?;
        let operations = text::operations(text.operations, &scopes)?;
        let mut by_name = FxHashMap::default();
        for operation in &operations {
            by_name.insert(
                (
                    operation.version,
                    operation.name.to_ascii_lowercase().into_boxed_str(),
                ),
                operation.index,
            );
        }
        let version = text::digest(text);
        Ok(Self {
            operations: operations.into_iter().map(Arc::new).collect(),
            by_name,
            scopes,
            version,
        })
    }

    /// The operation with this version and name; ASCII case is folded, as Bitrix24 folds it.
    pub fn find(&self, version: ApiVersion, name: &str) -> Option<&Operation> {
        // A name is folded on the stack: the look-up is on the path of every call.
        let mut folded = [0_u8; 2 * OPERATION_NAME_CAP];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name.as_bytes());
        folded.make_ascii_lowercase();
        let key: &dyn Key = &(version, std::str::from_utf8(folded).ok()?);
        self.by_name.get(key).and_then(|index| self.get(*index))
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
    pub fn opened_by<'c>(&'c self, scope: &'c str) -> impl Iterator<Item = &'c Operation> {
        self.operations()
            .filter(move |operation| match &operation.requirement {
                Requirement::AnyOf(sets) => sets.iter().any(|set| set.contains(scope)),
                Requirement::Conditional(alternatives) => {
                    alternatives.iter().any(|one| one.scopes.contains(scope))
                }
                Requirement::NoScope | Requirement::Unknown => false,
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
        &self.version
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

/// A scope set's text for people: `crm`, `crm + sign.b2e`.
pub fn describe_set(set: &ScopeSet) -> String {
    set.iter().collect::<Vec<_>>().join(" + ")
}

/// A requirement's text for people.
pub fn describe(requirement: &Requirement) -> String {
    match requirement {
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
                let rest = format!("the scope chosen by {}", one.parameter);
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

/// Lets a borrowed pair find an owned one: `HashMap` cannot borrow half of a tuple by itself.
trait Key {
    fn parts(&self) -> (ApiVersion, &str);
}

impl Key for (ApiVersion, Box<str>) {
    fn parts(&self) -> (ApiVersion, &str) {
        (self.0, &self.1)
    }
}

impl Key for (ApiVersion, &str) {
    fn parts(&self) -> (ApiVersion, &str) {
        (self.0, self.1)
    }
}

impl std::hash::Hash for dyn Key + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Key + '_ {}

impl<'k> std::borrow::Borrow<dyn Key + 'k> for (ApiVersion, Box<str>) {
    fn borrow(&self) -> &(dyn Key + 'k) {
        self
    }
}
