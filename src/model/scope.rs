//! Sets of scopes.

/// A set of scope codes as the vendor spells them, sorted and without repetition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ScopeSet(Box<[Box<str>]>);

impl ScopeSet {
    /// Collects scope codes; order and repetition do not matter.
    pub fn new<S: Into<Box<str>>>(codes: impl IntoIterator<Item = S>) -> Self {
        let mut codes: Vec<Box<str>> = codes.into_iter().map(Into::into).collect();
        codes.sort_unstable();
        codes.dedup();
        Self(codes.into_boxed_slice())
    }

    /// True if the set holds this code, compared byte for byte.
    pub fn contains(&self, code: &str) -> bool {
        self.0
            .binary_search_by(|held| held.as_ref().cmp(code))
            .is_ok()
    }

    /// True if the set holds every code of `needed`.
    pub fn covers(&self, needed: &Self) -> bool {
        needed.iter().all(|code| self.contains(code))
    }

    /// The codes in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// How many codes the set holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if the set holds no code.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = S>>(codes: I) -> Self {
        Self::new(codes)
    }
}
