//! Names that some readers take for the same.

/// True for a member's name that a reader which folds case takes for the known one, though it is spelt otherwise. Unicode
/// folds two letters beyond ASCII into it: `ſ` (U+017F) and the Kelvin sign (U+212A), as some readers do.
pub(in crate::vendor) fn resembles(name: &[u8], known: &str) -> bool {
    if name == known.as_bytes() {
        return false;
    }
    let folded = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    std::str::from_utf8(name).is_ok_and(|name| {
        name.chars()
            .map(folded)
            .eq(known.chars().map(|letter| letter.to_ascii_lowercase()))
    })
}
