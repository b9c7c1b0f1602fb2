//! Batches, which really run their commands.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::php;
use super::request::Asked;
use super::{Caller, Outcome, run, time};
use crate::emulator::Emulator;
use crate::model::ApiVersion;

const MOST: usize = 50;

/// Runs the commands of `cmd` in their order.
pub(super) fn v2(emulator: &Emulator, caller: &Caller, asked: &Asked) -> Value {
    let mut folded = Map::new();
    for (name, value) in &asked.parameters {
        folded.insert(name.to_ascii_uppercase(), value.clone());
    }
    let halt = folded.get("HALT").is_some_and(php::truth);
    let mut answers = Answers::default();
    let commands = folded.get("CMD").cloned().unwrap_or_default();
    for (position, (key, command)) in php::entries(&commands).into_iter().enumerate() {
        let Some(command) = command.as_str() else {
            continue;
        };
        let outcome = if position >= MOST {
            Err((
                StatusCode::BAD_REQUEST,
                "ERROR_BATCH_LENGTH_EXCEEDED".to_owned(),
                "Max batch length exceeded".to_owned(),
            ))
        } else {
            answers.run(emulator, caller, command)
        };
        let failed = outcome.is_err();
        answers.keep(&key, outcome);
        if failed && halt {
            break;
        }
    }
    json!({
        "result": {
            "result": php::array(answers.result),
            "result_error": php::array(answers.error),
            "result_total": php::array(answers.total),
            "result_next": php::array(answers.next),
            "result_time": php::array(answers.time),
        },
        "time": time(),
    })
}

#[derive(Debug, Default)]
struct Answers {
    result: Map<String, Value>,
    error: Map<String, Value>,
    total: Map<String, Value>,
    next: Map<String, Value>,
    time: Map<String, Value>,
}

impl Answers {
    fn run(&self, emulator: &Emulator, caller: &Caller, command: &str) -> Outcome {
        let (method, query) = url(command);
        if ["batch", "download", "upload"].contains(&method.to_ascii_lowercase().as_str()) {
            return Err((
                StatusCode::METHOD_NOT_ALLOWED,
                "ERROR_BATCH_METHOD_NOT_ALLOWED".to_owned(),
                "Method is not allowed for batch usage".to_owned(),
            ));
        }
        let mut parameters = php::parse(query.as_bytes());
        parameters
            .values_mut()
            .for_each(|value| self.resolve(value));
        let (status, answer) = run(emulator, caller, ApiVersion::V2, &method, &parameters);
        if answer.get("error").is_some() {
            let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
            // The portal leaves the text of a missing scope empty here.
            let code = text("error").to_owned();
            let description = match code.as_str() {
                "insufficient_scope" => String::new(),
                _ => text("error_description").to_owned(),
            };
            return Err((status, code, description));
        }
        Ok(answer)
    }

    fn keep(&mut self, key: &str, outcome: Outcome) {
        match outcome {
            Ok(Value::Object(mut answer)) => {
                let mut keep = |name: &str, to: &mut Map<String, Value>| {
                    if let Some(value) = answer.remove(name) {
                        to.insert(key.to_owned(), value);
                    }
                };
                keep("result", &mut self.result);
                keep("total", &mut self.total);
                keep("next", &mut self.next);
                keep("time", &mut self.time);
            }
            Ok(_) => {}
            Err((_, code, text)) => {
                let error = json!({ "error": code, "error_description": text });
                self.error.insert(key.to_owned(), error);
            }
        }
    }

    /// Puts earlier answers in the place of `$result[key][field]`, as far as the path leads.
    fn resolve(&self, value: &mut Value) {
        match value {
            Value::Object(map) => map.values_mut().for_each(|value| self.resolve(value)),
            Value::String(text) => {
                if let Some(path) = text.strip_prefix("$result") {
                    let whole = Value::Object(self.result.clone());
                    *value = follow(&whole, path).clone();
                }
            }
            _ => {}
        }
    }
}

fn follow<'v>(value: &'v Value, path: &str) -> &'v Value {
    let step = path
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .and_then(|(key, rest)| {
            let next = match value {
                Value::Object(map) => map.get(key),
                Value::Array(list) => list.get(key.parse::<usize>().ok()?),
                _ => None,
            };
            Some((next?, rest))
        });
    match step {
        Some((next, rest)) => follow(next, rest),
        None => value,
    }
}

/// Method and query of a command, as PHP's `parse_url` cuts it: a scheme and a fragment vanish.
fn url(command: &str) -> (String, &str) {
    let command = command.split('#').next().unwrap_or_default();
    let (path, query) = command.split_once('?').unwrap_or((command, ""));
    let path = match path.split_once(':') {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => rest,
        _ => path,
    };
    (path.to_owned(), query)
}

/// Runs the items of a REST 3.0 batch; the first error is the answer of the whole.
pub(super) fn v3(emulator: &Emulator, caller: &Caller, asked: &Asked) -> Outcome {
    let items: Vec<(&String, &Value)> = asked
        .parameters
        .iter()
        .filter(|(_, item)| item.is_object())
        .collect();
    let mut results = Map::new();
    for (key, item) in items {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let method = text("method").unwrap_or_default();
        let query = item.get("query").and_then(Value::as_object);
        let parameters = query.cloned().unwrap_or_default();
        let (status, answer) = run(emulator, caller, ApiVersion::V3, method, &parameters);
        if let Some(error) = answer.get("error") {
            let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
            return Err((status, text("code").to_owned(), text("message").to_owned()));
        }
        let result = answer.get("result").cloned().unwrap_or_default();
        results.insert(text("as").unwrap_or(key).to_owned(), result);
    }
    Ok(json!({ "result": php::array(results), "time": time() }))
}
