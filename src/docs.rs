//! The handbook.

/// Compares a page that is written from the code with the file in `src/docs`; with `UPDATE=1` writes it.
#[cfg(test)]
pub(crate) fn keep(file: &str, head: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/docs")
        .join(file);
    let text = format!("{head}\n\n{text}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "{} is not current: UPDATE=1 cargo test --lib writes it",
        path.display()
    );
}
