//! Patterns over operation names, and how like two names are.

/// A pattern over operation names: `*` stands for any run of characters, `.` and `/` included; ASCII case is folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The text between the stars, in lower case: always at least one piece.
    pieces: Box<[Box<str>]>,
}

impl Pattern {
    /// Reads a pattern. Every text is one.
    pub fn new(text: &str) -> Self {
        Self {
            pieces: text
                .split('*')
                .map(|piece| piece.to_ascii_lowercase().into_boxed_str())
                .collect(),
        }
    }

    /// True if the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.pieces.iter().map(|piece| piece.as_bytes());
        let Some(first) = pieces.next() else {
            return false;
        };
        let Some(mut rest) = strip_prefix(name.as_bytes(), first) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces {
            match find(rest, piece) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.len() >= last.len()
            && rest
                .iter()
                .rev()
                .zip(last.iter().rev())
                .all(|(a, b)| a.to_ascii_lowercase() == *b)
    }
}

fn strip_prefix<'n>(name: &'n [u8], prefix: &[u8]) -> Option<&'n [u8]> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What follows the first place where `piece` stands in `name`.
fn find<'n>(name: &'n [u8], piece: &[u8]) -> Option<&'n [u8]> {
    (0..=name.len()).find_map(|start| strip_prefix(name.get(start..)?, piece))
}

/// Levenshtein distance: how many letters differ. Enough to guess what somebody meant who mistyped a name.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let new = (diagonal + usize::from(x != y))
                .min(left + 1)
                .min(*cell + 1);
            diagonal = *cell;
            left = new;
            *cell = new;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Pattern, edit_distance};

    #[test]
    fn distance_counts_edits() {
        assert_eq!(edit_distance("crm.deal.lst", "crm.deal.list"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
    }

    #[test]
    fn stars_match_any_run_and_case_is_folded() {
        for (pattern, name, fits) in [
            ("crm.*.delete", "crm.deal.delete", true),
            ("crm.*.delete", "crm.deal.Delete", true),
            ("crm.*.delete", "crm.deal.contact.delete", true),
            ("crm.*.delete", "crm.delete", false),
            ("crm.*.delete", "crm.deal.deletes", false),
            ("crm.deal.list", "crm.deal.list", true),
            ("crm.deal.list", "crm.deal.list2", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("*.list", "CRM.DEAL.LIST", true),
            ("a*a", "a", false),
            (
                "GET /restapi/*/call-log",
                "GET /restapi/v1.0/account/{accountId}/call-log",
                true,
            ),
            ("*b*b*", "abab", true),
            ("*b*b*b*", "abab", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                fits,
                "{pattern} on {name}"
            );
        }
    }
}
