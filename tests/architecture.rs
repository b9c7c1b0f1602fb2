//! Rules of the source tree, kept by reading it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules in the order of their tiers: each uses itself, those before it in its own line, and lower tiers.
const TIERS: [&[&str]; 8] = [
    &["model", "clock"],
    &["policy", "catalogue"],
    &["vendor"],
    &[
        "telemetry",
        "tls",
        "store",
        "upstream",
        "audit",
        "oauth",
        "shared",
    ],
    &["grants"],
    &["snapshot", "proxy"],
    &["admin"],
    &["config", "app", "cli", "emulator", "docs", "main"],
];

/// Crates and paths that tiers may not touch.
const FORBIDDEN: [(usize, &[&str]); 3] = [
    (
        0,
        &[
            "tokio", "hyper", "tracing", "std::net", "std::fs", "std::io",
        ],
    ),
    (
        1,
        &[
            "tokio",
            "hyper",
            "tracing",
            "std::net",
            "std::fs",
            "std::io",
            "SystemTime",
            "Instant::now",
        ],
    ),
    (
        2,
        &[
            "tokio", "hyper", "tracing", "std::net", "std::fs", "std::io", "async ",
        ],
    ),
];

/// Crates that one module alone may name.
const FENCED: [(&str, &str); 6] = [
    ("dashmap", "grants"),
    ("rustls", "tls"),
    ("rcgen", "cli"),
    ("oauth2", "oauth"),
    ("rusqlite", "store"),
    ("redis", "shared"),
];

/// The longest a file may be, its tests aside.
const LINES: usize = 400;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let relative = |path: &Path| path.strip_prefix(&root).unwrap().to_owned();
    found
        .iter()
        .map(|path| (relative(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// The top module that a file belongs to.
fn module(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file, without its tests, comments and documentation.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn modules_use_lower_tiers_and_earlier_ones_of_their_own() {
    let rank: BTreeMap<&str, (usize, usize)> = TIERS
        .iter()
        .enumerate()
        .flat_map(|(tier, names)| {
            names
                .iter()
                .enumerate()
                .map(move |(place, name)| (*name, (tier, place)))
        })
        .collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let name = module(&path);
        if name == "lib" {
            continue;
        }
        let own = rank[name.as_str()];
        for (at, _) in code(&text).match_indices("crate::") {
            let used: String = code(&text)[at + 7..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            // Assembly knows itself: its modules call one another in both directions of their line only downward.
            let allowed = rank
                .get(used.as_str())
                .is_some_and(|rank| *rank <= own || (own.0 == 7 && rank.0 == 7));
            if !allowed {
                wrong.push(format!("{} uses crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn lower_tiers_do_not_touch_what_they_may_not() {
    for (path, text) in sources() {
        let name = module(&path);
        let Some(tier) = TIERS
            .iter()
            .position(|names| names.contains(&name.as_str()))
        else {
            continue;
        };
        for (forbidden_in, words) in FORBIDDEN {
            if tier != forbidden_in || name == "clock" {
                continue;
            }
            for word in words {
                let used = code(&text).lines().any(|line| line.contains(word));
                assert!(!used, "{} touches {word}", path.display());
            }
        }
    }
}

#[test]
fn fenced_crates_stay_behind_their_fence() {
    for (path, text) in sources() {
        for (name, owner) in FENCED {
            let used = code(&text).contains(&format!("{name}::"));
            assert!(
                !used || module(&path) == owner,
                "{} names {name}",
                path.display()
            );
        }
    }
}

#[test]
fn nothing_above_the_dialects_knows_a_vendor() {
    for (path, text) in sources() {
        let name = module(&path);
        let knows = ["vendor", "emulator", "cli", "config"].contains(&name.as_str());
        for vendor in ["bitrix", "ringcentral", "livechat"] {
            assert!(
                knows || !code(&text).to_ascii_lowercase().contains(vendor),
                "{} knows {vendor}",
                path.display()
            );
        }
    }
}

#[test]
fn only_enforce_makes_a_permission_and_only_forward_takes_one() {
    for (path, text) in sources() {
        let text = code(&text);
        if path != Path::new("proxy/enforce.rs") {
            assert!(
                !text.contains("Permitted {"),
                "{} makes a permission",
                path.display()
            );
        }
        // Beside the app's requests the gate sends its own questions; their tier does not know the app's.
        let sends = text.contains("pool.send(") || text.contains(".send(settings");
        let may = ["proxy/forward.rs", "grants/question.rs"].map(Path::new);
        assert!(
            !sends || may.contains(&path.as_path()),
            "{} sends by itself",
            path.display()
        );
    }
}

#[test]
fn files_stay_short() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| {
            (
                path,
                text.split("#[cfg(test)]").next().unwrap().lines().count(),
            )
        })
        .filter(|(_, lines)| *lines > LINES)
        .map(|(path, lines)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn no_module_is_called_mod() {
    assert!(sources().iter().all(|(path, _)| !path.ends_with("mod.rs")));
}

/// Crates that must not come in by any way: another crypto provider, and what has been given up or was found wanting.
const BANNED: [&str; 9] = [
    "ring",
    "openssl-sys",
    "native-tls",
    "rustls-pemfile",
    "reqwest",
    "serde_yaml",
    "bincode",
    "webpki",
    "quick-xml",
];

/// Every crate that is built on this platform, with its version.
fn built() -> BTreeMap<String, Vec<u64>> {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let crates = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        let parts = version
            .split(['.', '+', '-'])
            .map_while(|part| part.parse().ok());
        Some((name.to_owned(), parts.take(3).collect()))
    });
    crates.collect()
}

#[test]
fn no_banned_crate_is_built_and_the_security_floors_hold() {
    let built = built();
    assert!(built.len() > 50, "{built:?}");
    for name in BANNED {
        assert!(!built.contains_key(name), "{name}");
    }
    for (name, floor) in [
        ("hyper", vec![1, 11, 0]),
        ("rustls-webpki", vec![0, 103, 13]),
        ("aws-lc-sys", vec![0, 39, 0]),
        ("tracing-subscriber", vec![0, 3, 20]),
    ] {
        assert!(built[name] >= floor, "{name} is below {floor:?}");
    }
}
