//! The handbook: a page for each question that comes up between finding Grantgate and trusting it.
//!
//! | page | answers |
//! |---|---|
//! | [`clients`] | How do I point my SDK at it? |
//! | [`settings`] | What can I set, and what holds if I do not? |
//! | [`reasons`] | Why was this refused, and what do I do now? |
//! | [`grants`] | How does it know what a token may do, and when does it forget? |
//! | [`records`] | What does a line of the journal say, and what if it cannot be written? |
//! | [`metrics`] | What can be watched, and what should wake somebody? |
//! | [`deployment`] | How do I run it for good: systemd, containers, Kubernetes? |
//! | [`threats`] | What does it keep out, and what not? Which ways round have to be closed? |
//! | [`tracing`] | How do I find one call again: in the log, the journal, a trace? |
//!
//! The tables of settings, reasons and metrics are written from the code, and a test keeps them so.

#[doc = include_str!("docs/clients.md")]
pub mod clients {}

#[doc = include_str!("docs/settings.md")]
pub mod settings {}

#[doc = include_str!("docs/reasons.md")]
pub mod reasons {}

#[doc = include_str!("docs/grants.md")]
pub mod grants {}

#[doc = include_str!("docs/records.md")]
pub mod records {}

#[doc = include_str!("docs/metrics.md")]
pub mod metrics {}

#[doc = include_str!("docs/deployment.md")]
pub mod deployment {}

#[doc = include_str!("docs/threats.md")]
pub mod threats {}

#[doc = include_str!("docs/tracing.md")]
pub mod tracing {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Write as _;
    use std::time::Duration;

    use serde_json::Value;

    use crate::config;
    use crate::model::DecisionWord;
    use crate::model::{AnswerShape, ApiVersion, Reason};
    use crate::telemetry::{CallKey, GateNames, Metrics, OpenConnection, OperationKey};
    use crate::vendor::{Refusal, Vendor};

    /// Compares what is written from the code with the page, between its marks; with `UPDATE=1` writes it there.
    fn keep(file: &str, written: &str) {
        const MARKS: (&str, &str) = ("<!-- written from the code -->\n", "<!-- up to here -->\n");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/docs")
            .join(file);
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(MARKS.0).unwrap();
        let (there, after) = rest.split_once(MARKS.1).unwrap();
        let written = format!("\n{}\n\n", written.trim());
        if std::env::var_os("UPDATE").is_some() {
            let page = [before, MARKS.0, &written, MARKS.1, after].concat();
            std::fs::write(&path, page).unwrap();
            return;
        }
        assert!(
            there == written,
            "{file} is not current: UPDATE=1 cargo test --lib docs writes it"
        );
    }

    #[test]
    fn settings_are_current() {
        keep("settings.md", &config::settings_page());
    }

    #[test]
    fn reasons_are_current() {
        let mut page = String::from(
            "| reason | what has led to it | what to do | Bitrix24 | RingCentral | LiveChat |\n|---|---|---|---|---|---|\n",
        );
        for reason in Reason::ALL {
            let answers = if reason.remedy().is_empty() {
                ["-", "-", "-"].map(str::to_owned)
            } else {
                Vendor::ALL.map(|vendor| answer(vendor, reason))
            };
            let remedy = match reason.remedy() {
                "" => "nothing: the call goes on",
                remedy => remedy,
            };
            let _ = writeln!(
                page,
                "| `{}` | {} | {remedy} | {} |",
                reason.as_str(),
                reason.cause().trim().trim_end_matches('.'),
                answers.join(" | ")
            );
        }
        keep("reasons.md", &page);
    }

    /// Status and code of the answer that an app gets.
    fn answer(vendor: Vendor, reason: Reason) -> String {
        let answer = vendor.refuse(&Refusal {
            reason,
            fault: None,
            missing: &[],
            version: ApiVersion::Sole,
            answer: AnswerShape::Usual,
            credential: None,
        });
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let codes = [
            body.get("error").and_then(Value::as_str),
            body.get("errorCode").and_then(Value::as_str),
            body.pointer("/errors/0/errorCode").and_then(Value::as_str),
            body.pointer("/error/type").and_then(Value::as_str),
        ];
        let codes: BTreeSet<String> = codes
            .into_iter()
            .flatten()
            .map(|code| format!("`{code}`"))
            .collect();
        let codes: Vec<String> = codes.into_iter().collect();
        assert!(!codes.is_empty(), "{}", answer.body);
        format!("{} {}", answer.status, codes.join(" "))
    }

    #[test]
    fn metrics_are_current() {
        let gate = GateNames {
            gate: "portal".to_owned(),
            operations: vec!["crm.deal.list".into()],
        };
        let metrics = Metrics::new(vec![gate], 1);
        // What has no series before something happened.
        metrics.rejected("portal", Reason::AmbiguousFraming);
        let measured = metrics.gate(0).unwrap();
        measured.asked("known");
        measured
            .added
            .observe(Duration::from_micros(40).as_secs_f64());
        OpenConnection::new(measured).shed();
        metrics.take_shed(0, "portal");
        metrics.core(0).unwrap().count(CallKey {
            gate: 0,
            decision: DecisionWord::Allow,
            reason: Reason::Permitted,
            operation: OperationKey::Listed(0),
        });
        let text = metrics.encode();
        let mut page =
            String::from("| metric | kind | labels | what it says |\n|---|---|---|---|\n");
        let kinds: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .collect();
        let help = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
        for (name, says) in help {
            let kind = kinds[name];
            let suffix = if kind == "counter" { "_total" } else { "" };
            let sample = text
                .lines()
                .find(|line| {
                    let rest = line.strip_prefix(name);
                    let sum = if kind == "histogram" { "_sum" } else { suffix };
                    let rest = rest.and_then(|rest| rest.strip_prefix(sum));
                    rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                })
                .unwrap_or_else(|| panic!("{name} has no sample"));
            let labels = sample
                .split_once('{')
                .map_or("", |(_, rest)| rest.split('}').next().unwrap());
            let labels: Vec<&str> = labels
                .split("\",")
                .filter_map(|pair| pair.split_once('=').map(|(label, _)| label))
                .filter(|label| *label != "le")
                .collect();
            let labels = if labels.is_empty() {
                "-".to_owned()
            } else {
                format!("`{}`", labels.join("`, `"))
            };
            let _ = writeln!(
                page,
                "| `{name}{suffix}` | {kind} | {labels} | {} |",
                says.trim_end_matches('.')
            );
        }
        keep("metrics.md", &page);
    }

    /// Links between files, as somebody follows them who looks at the sources.
    #[test]
    fn links_of_the_readme_lead_somewhere() {
        let readme = include_str!("../README.md");
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let links = readme
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        let local: Vec<&str> = links.filter(|link| !link.contains("://")).collect();
        assert!(local.len() > 10);
        for link in local {
            assert!(root.join(link).exists(), "{link}");
        }
    }
}
