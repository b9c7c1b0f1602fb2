//! The shipped configurations and the schema: what an editor checks is what the program reads.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::gate::{PROGRAM, run};

fn shipped() -> Vec<PathBuf> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let toml = |dir: &Path| {
        fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "toml")
            })
            .collect::<Vec<_>>()
    };
    let mut found = toml(&config);
    found.extend(toml(&config.join("examples")));
    found.sort();
    found
}

fn schema() -> Value {
    let (code, schema, err) = run(&["write", "schema"]);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&schema).unwrap()
}

/// What the schema says of a configuration.
fn by_schema(validator: &jsonschema::Validator, text: &str) -> Result<(), String> {
    let table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    let value = serde_json::to_value(table).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .map(|error| error.to_string())
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.join("; "))
    }
}

/// What `check` says of it, in a directory that has the files and an environment that has the variables which the
/// examples name. Its places are those of this machine, so they become the directory's.
fn by_check(text: &str) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    let (code, _, err) = run(&[
        "certs",
        "--out",
        dir.path().join("certs/dev").to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{err}");
    fs::write(dir.path().join("livechat-pat"), "1:PAT").unwrap();
    fs::write(dir.path().join("portal-webhook"), "1/SECRET").unwrap();
    let text = text
        .replace("/var/lib/grantgate", &format!("{here}/state"))
        .replace("/mnt/evidence/grantgate", &format!("{here}/second"))
        .replace("/run/secrets/", &format!("{here}/"));
    fs::write(dir.path().join("grantgate.toml"), text).unwrap();
    let done = Command::new(PROGRAM)
        .args(["check", "--config", "grantgate.toml"])
        .current_dir(dir.path())
        .env("PORTAL_WEBHOOK", "1/SECRET")
        .env("GRANTGATE_TOKEN_ID_KEY", "0123456789abcdef0123456789abcdef")
        .env("GRANTGATE_REDIS", "redis://127.0.0.1:6379")
        .output()
        .unwrap();
    let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code().unwrap(), said)
}

#[test]
fn every_shipped_configuration_is_read_without_a_warning_and_fits_the_schema() {
    let validator = jsonschema::draft7::new(&schema()).unwrap();
    let shipped = shipped();
    assert!(shipped.len() >= 9, "{shipped:?}");
    for path in shipped {
        let text = fs::read_to_string(&path).unwrap();
        let (code, said) = by_check(&text);
        assert_eq!(code, 0, "{}: {said}", path.display());
        assert!(!said.contains("warning"), "{}: {said}", path.display());
        by_schema(&validator, &text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let directive = text.lines().next().unwrap();
        let named = directive
            .strip_prefix("#:schema ")
            .expect("editors find the schema by the first line");
        assert!(
            path.parent().unwrap().join(named).exists(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn the_schema_that_is_checked_in_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/grantgate.schema.json");
    let (_, schema, _) = run(&["write", "schema"]);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == schema,
        "grantgate write schema > config/grantgate.schema.json"
    );
}

const VALID: &str = r#"[[gate]]
name = "portal"
vendor = "bitrix24"
listen = "127.0.0.1:9404"
upstream = "https://portal.bitrix24.com"
"#;

/// What is wrong by itself, without a look at disk, environment or another setting, is wrong for both.
#[test]
fn schema_and_reader_refuse_the_same() {
    let validator = jsonschema::draft7::new(&schema()).unwrap();
    by_schema(&validator, VALID).unwrap();
    let (code, said) = by_check(VALID);
    assert_eq!(code, 0, "{said}");
    for wrong in [
        "moed = \"report\"",
        "mode = \"enforced\"",
        "mode = 1",
        "ask_secs = 0",
        "ask_secs = 61",
        "ask_secs = \"5\"",
        "hosts = \"portal\"",
        "hosts = [1]",
        "allow_plain_upstream = \"yes\"",
        "tls = { cert = \"a.pem\" }",
        "tls = { cert = \"a.pem\", key = \"b.pem\", ca = \"c.pem\" }",
        "authorization_server = \"https://x.example/oauth\"",
        "authorization_server = \"ftp://x.example\"",
        "[[gate.grant]]\nscopes = [\"crm\"]",
        "[[gate.grant]]\ntoken = \"T\"",
        "[[gate.grant]]\ntoken = \"\"\nscopes = []",
        "[[gate.grant]]\ntoken = { env = \"A\", file = \"B\" }\nscopes = []",
        "[[gate.grant]]\ntoken = {}\nscopes = []",
        "[[gate.rule]]\noperations = [\"crm.*\"]",
        "[[gate.rule]]\noperations = [\"crm.*\"]\neffect = \"refuse\"\nmode = \"off\"",
        "[[gate.rule]]\noperations = [\"crm.*\"]\neffect = \"permit\"",
        "[limits]\nhead_kib = 4",
        "[limits]\nheads = 4",
        "[audit]\nkeep_days = -1",
        "[admin]\nport = 1",
        "[state]\ndir = 7",
    ] {
        let text = format!("{VALID}{wrong}\n");
        assert!(
            by_schema(&validator, &text).is_err(),
            "the schema takes {wrong}"
        );
        assert_eq!(by_check(&text).0, 2, "the reader takes {wrong}");
    }
    for missing in ["name", "vendor", "listen", "upstream"] {
        let text: String = VALID
            .lines()
            .filter(|line| !line.starts_with(missing))
            .fold(String::new(), |text, line| text + line + "\n");
        assert!(
            by_schema(&validator, &text).is_err(),
            "the schema does without {missing}"
        );
        assert_eq!(by_check(&text).0, 2, "the reader does without {missing}");
    }
    assert!(by_schema(&validator, "").is_err());
}
