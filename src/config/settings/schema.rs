//! The configuration as a JSON Schema, for editors: they complete, explain and check while one writes.

use serde_json::{Map, Value, json};

use super::{Default, Form, Kind, ROOT, SECRET, Setting, Table};

/// The JSON Schema of the configuration. Draft 7, which the editors' TOML extensions understand.
pub(crate) fn schema() -> Value {
    let mut root = object(&ROOT);
    root.insert(
        "$schema".to_owned(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    root.insert("title".to_owned(), json!("Configuration of Grantgate"));
    let mut secret = object(&SECRET);
    secret.insert("minProperties".to_owned(), json!(1));
    secret.insert("maxProperties".to_owned(), json!(1));
    root.insert(
        "definitions".to_owned(),
        json!({
            "secret": {
                "oneOf": [secret, {
                    "type": "string",
                    "minLength": 1,
                    "description": "In the clear, which is warned of: better { env = \"NAME\" } or { file = \"PATH\" }",
                }],
            },
        }),
    );
    Value::Object(root)
}

fn object(table: &Table) -> Map<String, Value> {
    let properties: Map<String, Value> = table
        .settings
        .iter()
        .map(|setting| (setting.name.to_owned(), property(setting)))
        .collect();
    let required: Vec<&str> = table
        .settings
        .iter()
        .filter(|setting| setting.is_required())
        .map(|setting| setting.name)
        .collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("additionalProperties".to_owned(), json!(false));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    object.insert("properties".to_owned(), Value::Object(properties));
    if table.path == "gate.rule" {
        let either = json!([{ "required": ["effect"] }, { "required": ["mode"] }]);
        object.insert("oneOf".to_owned(), either);
    }
    object
}

fn property(setting: &Setting) -> Value {
    let mut property = match &setting.kind {
        Kind::Text(form) => text(*form),
        Kind::Secret => json!({ "allOf": [{ "$ref": "#/definitions/secret" }] }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Table(inner) => Value::Object(object(inner)),
        Kind::Tables(inner) => {
            let least = usize::from(setting.is_required());
            json!({ "type": "array", "minItems": least, "items": object(inner) })
        }
    };
    if let Some(members) = property.as_object_mut() {
        members.insert("description".to_owned(), json!(described(setting)));
        let default = match setting.default {
            Default::Text(text) => Some(json!(text)),
            Default::Number(number) => Some(json!(number)),
            Default::Off => Some(json!(false)),
            Default::Required(_) | Default::Said(_) | Default::Nothing => None,
        };
        if let Some(default) = default {
            members.insert("default".to_owned(), default);
        }
    }
    property
}

fn text(form: Form) -> Value {
    match form {
        Form::Plain | Form::Path | Form::Address => json!({ "type": "string", "minLength": 1 }),
        Form::Origin => json!({ "type": "string", "pattern": "^https?://[^/?#@]+/?$" }),
        Form::Url => json!({ "type": "string", "pattern": "^https?://" }),
        Form::Time => json!({ "type": "string", "format": "date-time" }),
    }
}

/// What an editor shows: Markdown's marks would stand there as they are.
fn described(setting: &Setting) -> String {
    let about = setting.about.replace('`', "");
    match setting.default {
        Default::Said(words) => format!("{about}. Without it: {}", words.replace('`', "")),
        _ => about,
    }
}
