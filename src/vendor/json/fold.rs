//! Names that some readers take for the same.

/// True for a member's name that a reader which folds case takes for the known one, though it is spelt otherwise. Some
/// readers fold letters beyond ASCII into it as well: `ſ` (U+017F), the Kelvin sign (U+212A), and `İ` and `ı`.
pub(in crate::vendor) fn resembles(name: &[u8], known: &str) -> bool {
    if name == known.as_bytes() {
        return false;
    }
    let folded = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        other => other.to_ascii_lowercase(),
    };
    std::str::from_utf8(name).is_ok_and(|name| {
        name.chars()
            .map(folded)
            .eq(known.chars().map(|letter| letter.to_ascii_lowercase()))
    })
}
