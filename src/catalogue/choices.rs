//! Needs that hang on more than a name: the value of a parameter, or the beginning of a name that no table has.

use rustc_hash::FxHashMap;

use super::text::ChoiceRow;
use crate::model::{Condition, Operation, Pattern, Requirement, ScopeSet};

/// The needs of operations whose requirement hangs on a parameter, worked out for every value that is known.
#[derive(Debug, Default)]
pub(super) struct Choices {
    /// Operations with the same requirement share a table.
    tables: Vec<Table>,
    of_operation: FxHashMap<u32, usize>,
}

#[derive(Debug)]
struct Table {
    conditions: Box<[Condition]>,
    absent: Option<Requirement>,
    /// By value in lower case.
    by_value: FxHashMap<Box<str>, Requirement>,
    by_pattern: Vec<(Pattern, Requirement)>,
}

impl Choices {
    pub(super) fn new<'o>(
        operations: impl Iterator<Item = &'o Operation>,
        rows: &[ChoiceRow],
        scopes: &[&str],
    ) -> Self {
        let mut choices = Self::default();
        for operation in operations {
            let Requirement::Conditional(conditions) = &operation.requirement else {
                continue;
            };
            let known = choices
                .tables
                .iter()
                .position(|table| table.conditions == *conditions);
            let table = known.unwrap_or_else(|| {
                choices.tables.push(Table::new(conditions, rows, scopes));
                choices.tables.len() - 1
            });
            choices.of_operation.insert(operation.index, table);
        }
        choices
    }

    /// What an operation needs with this value of its parameter, or without one.
    pub(super) fn find(&self, operation: u32, value: Option<&str>) -> Option<&Requirement> {
        let table = self.tables.get(*self.of_operation.get(&operation)?)?;
        let Some(value) = value else {
            return table.absent.as_ref();
        };
        table
            .by_value
            .get(value.to_ascii_lowercase().as_str())
            .or_else(|| {
                let fits = table
                    .by_pattern
                    .iter()
                    .find(|(pattern, _)| pattern.matches(value));
                fits.map(|(_, requirement)| requirement)
            })
    }
}

impl Table {
    fn new(conditions: &[Condition], rows: &[ChoiceRow], scopes: &[&str]) -> Self {
        let mut table = Self {
            conditions: conditions.into(),
            absent: None,
            by_value: FxHashMap::default(),
            by_pattern: Vec::new(),
        };
        // The table's reader refuses two conditions with different parameters.
        let Some(parameter) = conditions.iter().find_map(Condition::name) else {
            return table;
        };
        if conditions.iter().all(Condition::is_optional) {
            table.absent = Some(combine(conditions, &Requirement::NoScope));
        }
        let mut own = rows
            .iter()
            .filter(|row| row.parameter.eq_ignore_ascii_case(parameter))
            .peekable();
        if own.peek().is_none() {
            for code in scopes {
                let need = Requirement::AnyOf([ScopeSet::new([*code])].into());
                table
                    .by_value
                    .insert(code.to_ascii_lowercase().into(), combine(conditions, &need));
            }
            // No scope is named: the vendor asks for none.
            table
                .by_value
                .insert("".into(), combine(conditions, &Requirement::NoScope));
            return table;
        }
        for row in own {
            let need = combine(conditions, &row.requirement);
            if row.value.contains('*') {
                table.by_pattern.push((Pattern::new(&row.value), need));
            } else {
                table
                    .by_value
                    .insert(row.value.to_ascii_lowercase().into(), need);
            }
        }
        table
    }
}

/// What the conditions need with what the parameter's value needs beside them.
fn combine(conditions: &[Condition], chosen: &Requirement) -> Requirement {
    let none = [ScopeSet::default()];
    let chosen: &[ScopeSet] = match chosen {
        Requirement::AnyOf(sets) => sets,
        Requirement::Open | Requirement::NoScope => &none,
        Requirement::Conditional(_) | Requirement::Unknown => return Requirement::Unknown,
    };
    let sets: Vec<ScopeSet> = conditions
        .iter()
        .flat_map(|condition| {
            chosen
                .iter()
                .map(|set| condition.scopes.iter().chain(set.iter()).collect())
        })
        .collect();
    if sets.iter().any(ScopeSet::is_empty) {
        Requirement::NoScope
    } else {
        Requirement::AnyOf(sets.into())
    }
}

/// The vendor's own rule for names that no table has: the longest beginning that is known.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    by_prefix: FxHashMap<Box<str>, Requirement>,
}

impl Prefixes {
    pub(super) fn new(rows: Vec<(Box<str>, Requirement)>, scopes: &[&str]) -> Self {
        let mut prefixes = Self::default();
        if rows.is_empty() {
            return prefixes;
        }
        for code in scopes {
            let need = Requirement::AnyOf([ScopeSet::new([*code])].into());
            prefixes
                .by_prefix
                .insert(code.to_ascii_lowercase().into(), need);
        }
        prefixes.by_prefix.extend(rows);
        prefixes
    }

    /// What the rule asks for; `None` where no beginning of the name is known.
    pub(super) fn find(&self, name: &str) -> Option<&Requirement> {
        let folded = name.to_ascii_lowercase();
        let mut beginning = folded.as_str();
        while let Some((shorter, _)) = beginning.rsplit_once('.') {
            if let Some(need) = self.by_prefix.get(shorter) {
                return Some(need);
            }
            beginning = shorter;
        }
        None
    }
}
