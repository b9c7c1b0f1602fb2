//! Parameters and arrays as PHP has them: names with brackets become nested arrays, and an array is a list only if its
//! keys count from zero.

use serde_json::{Map, Value};

/// Reads a query or form.
pub(in crate::emulator) fn parse(text: &[u8]) -> Map<String, Value> {
    let mut parameters = Map::new();
    for pair in text
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
    {
        let cut = pair
            .iter()
            .position(|byte| *byte == b'=')
            .unwrap_or(pair.len());
        let (name, value) = pair.split_at(cut);
        let value = decode(value.strip_prefix(b"=").unwrap_or(value));
        register(&mut parameters, &decode(name), Value::String(value));
    }
    parameters
}

/// Sets a parameter by its name: `a`, `a[b]`, `a[]`.
pub(super) fn register(parameters: &mut Map<String, Value>, name: &str, value: Value) {
    let name = name.trim_start_matches(' ');
    let (base, mut rest) = match name.find('[') {
        Some(open) if open > 0 && name.split_at(open).1.contains(']') => name.split_at(open),
        _ => (name, ""),
    };
    let base = base.replace([' ', '.', '['], "_");
    let mut keys = Vec::new();
    while let Some((key, after)) = rest
        .strip_prefix('[')
        .and_then(|index| index.split_once(']'))
    {
        keys.push(key);
        rest = after;
    }
    let mut place = parameters.entry(base).or_insert(Value::Null);
    for key in keys {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(array) = place else { return };
        let key = if key.is_empty() {
            let next = array.keys().filter_map(|key| key.parse::<u64>().ok()).max();
            next.map_or(0, |last| last + 1).to_string()
        } else {
            key.to_owned()
        };
        place = array.entry(key).or_insert(Value::Null);
    }
    *place = value;
}

/// An array as PHP's `json_encode` writes it.
pub(super) fn array(entries: Map<String, Value>) -> Value {
    let list = entries
        .keys()
        .enumerate()
        .all(|(position, key)| *key == position.to_string());
    if list {
        Value::Array(entries.into_iter().map(|(_, value)| value).collect())
    } else {
        Value::Object(entries)
    }
}

/// The entries of an array, whichever way it was written; empty for anything else.
pub(super) fn entries(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(position, value)| (position.to_string(), value))
            .collect(),
        _ => Vec::new(),
    }
}

/// What PHP takes for true.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.as_str(), "" | "0"),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Percent-decodes; a `+` is a blank.
pub(super) fn decode(text: &[u8]) -> String {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| byte == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        rest = match escaped {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
        out.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer in XML: keys are elements, numbers `item`.
pub(super) fn xml(value: &Value) -> String {
    fn write(out: &mut String, value: &Value) {
        match value {
            Value::Object(_) | Value::Array(_) => {
                for (key, value) in entries(value) {
                    let name = if key.parse::<u64>().is_ok() {
                        "item"
                    } else {
                        &key
                    };
                    out.extend(["<", name, ">"]);
                    write(out, value);
                    out.extend(["</", name, ">"]);
                }
            }
            Value::String(text) => {
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                out.push_str(&text.replace('>', "&gt;"));
            }
            Value::Null => {}
            Value::Bool(on) => out.push_str(if *on { "1" } else { "0" }),
            Value::Number(number) => out.push_str(&number.to_string()),
        }
    }
    let mut out = "<response>".to_owned();
    write(&mut out, value);
    out + "</response>"
}
