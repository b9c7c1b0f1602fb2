//! Settings that hold a secret.

use toml::de::DeValue;

use super::document::Placed;
use super::section::{Section, printable};
use super::settings::SECRET;

impl Section<'_, '_> {
    /// A secret that nothing can stand in for.
    pub(super) fn required_secret(&self, key: &'static str) -> Option<Placed<String>> {
        self.is_there(key).then(|| self.secret(key)).flatten()
    }

    /// A secret: `{ env = "NAME" }`, `{ file = "PATH" }`, or a plain string, which is accepted with a warning.
    pub(super) fn secret(&self, key: &'static str) -> Option<Placed<String>> {
        let (value, span) = self.value(key)?;
        let secret = match value {
            DeValue::String(text) => {
                self.warning_at(
                    &span,
                    format!("`{key}` stands in the configuration in the clear"),
                    format!("use {key} = {{ file = \"…\" }} or {{ env = \"…\" }}"),
                );
                text.to_string()
            }
            DeValue::Table(table) => {
                let section = Section::new(self.document, &SECRET, table, span.clone());
                let secret = section.secret_from();
                section.finish();
                secret?
            }
            other => {
                return self.wrong_type(
                    key,
                    other,
                    &span,
                    "{ env = \"…\" }, { file = \"…\" } or a string",
                );
            }
        };
        if secret.is_empty() {
            self.problem_at(
                &span,
                format!("`{key}` is empty"),
                "give the secret's value",
            );
            return None;
        }
        Some(Placed {
            value: secret,
            span,
        })
    }

    fn read_file(&self, path: &str) -> std::io::Result<String> {
        self.document.depends_on(path);
        std::fs::read_to_string(path)
    }

    fn secret_from(&self) -> Option<String> {
        match (self.string("env"), self.string("file")) {
            (Some(name), None) => std::env::var(name.value)
                .map_err(|_| {
                    let message =
                        format!("the environment has no variable {}", printable(name.value));
                    self.problem_at(
                        &name.span,
                        message,
                        "set it for this process, or use { file = \"…\" }",
                    );
                })
                .ok(),
            (None, Some(path)) => self
                .read_file(path.value)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| {
                    let message = format!("cannot read {}: {error}", printable(path.value));
                    self.problem_at(
                        &path.span,
                        message,
                        "paths are relative to the working directory",
                    );
                })
                .ok(),
            _ => {
                self.problem(
                    "a secret comes from one place",
                    "write { env = \"NAME\" } or { file = \"PATH\" }",
                );
                None
            }
        }
    }
}
