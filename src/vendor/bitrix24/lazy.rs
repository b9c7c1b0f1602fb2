//! Parts of a reader that most requests do not need: made when they are first asked for, so that a reader stays small.

/// A value behind a pointer that is there only once it has been asked for.
pub(super) struct Lazy<T>(Option<Box<T>>);

impl<T: Default> Lazy<T> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// The value; made now if it was not there.
    pub(super) fn get(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }

    /// The value, if it was ever asked for.
    pub(super) fn peek(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// The value, or one that was just made.
    pub(super) fn into_inner(self) -> T {
        self.0.map_or_else(T::default, |boxed| *boxed)
    }
}
