//! Hearing what others tell: reading the stream's entries, and who wrote them.

use std::future::Future;
use std::sync::Arc;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::{Change, LinkError, PATIENCE, PAUSE, What};
use crate::model::{Secret, TokenIdKey};

/// How many entries are read at once.
const PAGE: usize = 500;

/// How long a read waits for news, in milliseconds.
const BLOCK: usize = 1000;

/// What hears the others.
pub(super) struct Ear {
    pub(super) stream: String,
    pub(super) from: Arc<str>,
    pub(super) key: Arc<TokenIdKey>,
}

impl Ear {
    /// Reads what others tell until that fails.
    pub(super) async fn read<F>(
        &self,
        mut connection: MultiplexedConnection,
        last: &mut String,
        apply: &impl Fn(Vec<Change>, String) -> F,
    ) -> LinkError
    where
        F: Future<Output = bool>,
    {
        loop {
            let mut news = redis::cmd("XREAD");
            news.arg("COUNT")
                .arg(PAGE)
                .arg("BLOCK")
                .arg(BLOCK)
                .arg("STREAMS")
                .arg(&self.stream)
                .arg(last.as_str());
            let answer = tokio::time::timeout(PATIENCE, news.query_async::<Value>(&mut connection));
            let entries = match answer.await {
                Ok(Ok(answer)) => entries(answer),
                Ok(Err(error)) => return error.into(),
                Err(_) => return LinkError::Timeout,
            };
            let Some(entries) = entries else {
                return LinkError::Unreadable;
            };
            let Some((newest, ..)) = entries.last() else {
                continue;
            };
            let changes: Vec<Change> = entries
                .iter()
                .filter(|(_, text, sealed)| seal(&self.key, text) == *sealed)
                // What a later version tells is not for this one.
                .filter_map(|(_, text, _)| serde_json::from_str(text).ok())
                // One's own ends count when they are read again.
                .filter(|change: &Change| {
                    change.from != *self.from || matches!(change.what, What::End(..))
                })
                .collect();
            while !apply(changes.clone(), newest.clone()).await {
                tokio::time::sleep(PAUSE).await;
            }
            last.clone_from(newest);
        }
    }
}

/// What shows that an entry was written by somebody who has the key: Redis itself is not trusted.
pub(super) fn seal(key: &TokenIdKey, text: &str) -> String {
    let sealed = format!("grantgate shared change\n{text}");
    key.identify(&Secret::new(sealed.into_bytes())).to_string()
}

/// An entry's id, to be compared.
pub(super) fn id(text: &str) -> (u64, u64) {
    let (time, count) = text.split_once('-').unwrap_or((text, "0"));
    let number = |text: &str| text.parse().unwrap_or_default();
    (number(time), number(count))
}

/// The entries of an answer to `XREAD`, each with its id, change and seal; none where there is no news.
fn entries(answer: Value) -> Option<Vec<(String, String, String)>> {
    match answer {
        Value::Nil => Some(Vec::new()),
        Value::Array(streams) => {
            let mut found = Vec::new();
            for stream in streams {
                let Value::Array(mut stream) = stream else {
                    return None;
                };
                let Value::Array(entries) = stream.pop()? else {
                    return None;
                };
                found.extend(entries.into_iter().filter_map(entry));
            }
            Some(found)
        }
        _ => None,
    }
}

/// An entry's id, change and seal; the latter are empty where they are not what is written here.
pub(super) fn entry(entry: Value) -> Option<(String, String, String)> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let Value::Array(parts) = entry else {
        return None;
    };
    let id = text(parts.first()?)?;
    let fields = match parts.get(1) {
        Some(Value::Array(fields)) => fields.as_slice(),
        _ => &[],
    };
    let field = |at: usize| fields.get(at).and_then(text).unwrap_or_default();
    Some((id, field(1), field(3)))
}
