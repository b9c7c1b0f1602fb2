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

/// The scopes of a token: what it was granted, and all that this stands for by the vendor's own rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Holding {
    granted: ScopeSet,
    /// `None` where nothing stands for more than itself.
    opens: Option<ScopeSet>,
}

impl Holding {
    /// Takes the scopes as they were granted, and everything that they stand for, themselves included.
    pub fn new(granted: ScopeSet, opens: ScopeSet) -> Self {
        let opens = (opens != granted).then_some(opens);
        Self { granted, opens }
    }

    /// The scopes as they were granted, for records and people.
    pub const fn granted(&self) -> &ScopeSet {
        &self.granted
    }

    /// The scopes by which calls are judged.
    pub fn opens(&self) -> &ScopeSet {
        self.opens.as_ref().unwrap_or(&self.granted)
    }
}

impl From<ScopeSet> for Holding {
    /// Scopes that stand for themselves only.
    fn from(granted: ScopeSet) -> Self {
        Self {
            granted,
            opens: None,
        }
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = S>>(codes: I) -> Self {
        Self::new(codes)
    }
}
