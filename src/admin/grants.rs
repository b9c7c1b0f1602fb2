//! `/grants`: what is known of tokens. Anyone who may ask may look; only the socket in the state directory may change it.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Page, json};
use crate::grants::GateReport;
use crate::model::TokenId;
use crate::snapshot::Snapshot;

/// How many grants of a gate are listed unless `most` says otherwise.
const MOST: usize = 1000;

/// Answers what `/grants…` asks; `None` if nothing is there.
pub(super) async fn answer(
    snapshot: &Snapshot,
    method: &Method,
    path: &str,
    query: &str,
    may_change: bool,
) -> Option<Page> {
    let rest = path.strip_prefix("/grants")?;
    let parameter = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    // What a gate shares stands with the gate that it learns with.
    let home = |name: &str| {
        let named = snapshot.gates.iter().find(|gate| gate.name == name);
        named.map(|gate| gate.grants.learned().gate())
    };
    let forgets = *method == Method::DELETE;
    let gates = snapshot.gates.iter().filter(|gate| {
        let is_home = gate.grants.learned().gate() == gate.name;
        match parameter("gate") {
            Some(name) => gate.name == name || home(name) == Some(gate.name.as_str()),
            None => is_home || !forgets,
        }
    });
    if rest.is_empty() {
        let most = parameter("most").and_then(|most| most.parse().ok());
        let mut reports: Vec<GateReport> = Vec::new();
        for gate in gates {
            let report = gate.grants.report(&gate.name, most.unwrap_or(MOST));
            match report.await {
                Ok(report) => reports.push(report),
                Err(error) => return Some(trouble(&error)),
            }
        }
        return Some(json(StatusCode::OK, &reports));
    }
    let Ok(token) = rest.strip_prefix('/')?.parse::<TokenId>() else {
        let said = json!({ "error": "a token id has 32 hex digits" });
        return Some(json(StatusCode::BAD_REQUEST, &said));
    };
    let mut found = Vec::new();
    for gate in gates {
        if forgets {
            if !may_change {
                let said = json!({ "error": "only by the socket in the state directory" });
                return Some(json(StatusCode::FORBIDDEN, &said));
            }
            match gate.grants.forget(token).await {
                Ok(true) => found.push(json!({ "gate": gate.name, "forgotten": true })),
                Ok(false) => {}
                Err(error) => return Some(trouble(&error)),
            }
            continue;
        }
        match gate.grants.report_one(&gate.name, token).await {
            Ok(grants) => found.extend(grants.into_iter().map(|grant| json!(grant))),
            Err(error) => return Some(trouble(&error)),
        }
    }
    let status = if found.is_empty() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    Some(json(status, &found))
}

fn trouble(error: &crate::store::StoreError) -> Page {
    let said = json!({ "error": error.to_string() });
    json(StatusCode::SERVICE_UNAVAILABLE, &said)
}
