//! What is shipped to run the program elsewhere fits the program: its configurations are valid, its metrics exist, its ports
//! and paths are the program's.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::gate::run;

fn deploy(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The configurations, those within manifests included.
fn configurations() -> Vec<(&'static str, String)> {
    let values = deploy("helm/grantgate/values.yaml");
    let block = values.split_once("config: |\n").unwrap().1;
    let helm: String = block
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("  "))
        .fold(String::new(), |text, line| text + line.trim_start() + "\n");
    vec![
        ("compose", deploy("compose/grantgate.toml")),
        ("kubernetes", deploy("kubernetes/grantgate.toml")),
        ("helm", helm),
    ]
}

#[test]
fn configurations_are_valid_without_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = dir.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("portal-webhook"), "1/SECRET").unwrap();
    for (name, text) in configurations() {
        let text = text.replace("/run/secrets/grantgate", secrets.to_str().unwrap());
        let state = format!("[state]\ndir = {:?}\n", dir.path().join("var"));
        let path = dir.path().join("grantgate.toml");
        // The composition's portal is a name of its own network.
        fs::write(
            &path,
            state + &text.replace("http://portal:", "http://127.0.0.1:"),
        )
        .unwrap();
        let (code, out, err) = run(&["check", "--config", path.to_str().unwrap()]);
        assert_eq!(code, 0, "{name}: {out}{err}");
        assert!(!err.contains("warning"), "{name}: {err}");
    }
}

/// Names that begin as our metrics do.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let found = text.match_indices("grantgate_").map(|(at, _)| {
        text[at..]
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect::<String>()
    });
    found.collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs/metrics.md"))
            .unwrap();
    // The page's table is written from the registry.
    let table = page.split("<!-- up to here -->").next().unwrap();
    let known: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `grantgate_")?.split('`').next())
        .map(|name| format!("grantgate_{name}"))
        .collect();
    assert!(known.len() > 20, "{known:?}");
    for file in [
        "prometheus/alerts.yml",
        "prometheus/alerts_test.yml",
        "grafana/dashboard.json",
    ] {
        let used = metrics_in(&deploy(file));
        assert!(used.len() >= 4, "{file}: {used:?}");
        for metric in used {
            let whole = metric.trim_end_matches("_bucket");
            assert!(known.contains(whole), "{file} uses {metric}");
        }
    }
    let said = page.split("<!-- up to here -->").nth(1).unwrap();
    for metric in metrics_in(said) {
        assert!(known.contains(&metric), "the page speaks of {metric}");
    }
}

#[test]
fn the_dashboard_is_json_with_a_query_in_each_panel() {
    let dashboard: Value = serde_json::from_str(&deploy("grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 12);
    for panel in panels {
        let queries = panel["targets"].as_array().unwrap();
        assert!(!queries.is_empty(), "{}", panel["title"]);
        assert!(queries.iter().all(|query| {
            query["expr"]
                .as_str()
                .is_some_and(|query| query.contains("grantgate_"))
        }));
    }
}

#[test]
fn every_way_to_run_it_asks_the_same_of_the_program() {
    let (_, help, _) = run(&["serve", "--help"]);
    for (file, commands) in [
        ("Dockerfile", ["serve", "--log-json"]),
        ("systemd/grantgate.service", ["serve", "--log-json"]),
        ("kubernetes/statefulset.yaml", ["serve", "--log-json"]),
        (
            "helm/grantgate/templates/statefulset.yaml",
            ["serve", "--log-json"],
        ),
    ] {
        let text = deploy(file);
        for word in commands {
            assert!(text.contains(word), "{word} in {file}");
        }
        assert!(help.contains("--log-json"));
    }
    for file in [
        "kubernetes/statefulset.yaml",
        "helm/grantgate/templates/statefulset.yaml",
    ] {
        let text = deploy(file);
        for words in [
            "path: /readyz",
            "path: /healthz",
            "readOnlyRootFilesystem: true",
            "runAsNonRoot: true",
            "drop: [ALL]",
        ] {
            assert!(text.contains(words), "{words} in {file}");
        }
    }
    let chart = deploy("helm/grantgate/Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        chart.contains(&format!("appVersion: \"{version}\"")),
        "the chart runs this version"
    );
    // Links, so that there is one text of each.
    let link = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/helm/grantgate/alerts.yml");
    assert_eq!(
        fs::read_link(link).unwrap(),
        PathBuf::from("../../prometheus/alerts.yml")
    );
}
