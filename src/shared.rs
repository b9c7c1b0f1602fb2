//! What instances tell each other of tokens, by a stream in Redis or Valkey (`[state] redis`).
//!
//! Each change of a grant is an entry of one stream; each instance reads on from where it was, so that an outage loses
//! nothing that the stream still holds. No call waits for it: without Redis every gate goes on with what it knows. The
//! stream's name has a name of the key behind token ids: instances with another key do not see it.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, IntoConnectionInfo as _, RedisConnectionInfo, Value};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::model::{Standing, TokenId};
use crate::store::{GrantRow, RefreshRow};
use crate::telemetry::SharedMetrics;
use crate::upstream;

/// How many changes may wait while Redis is out of order.
const QUEUE: usize = 65_536;

/// How many entries the stream keeps, about.
const KEPT: usize = 200_000;

/// How many entries are read at once.
const PAGE: usize = 500;

/// How long a read waits for news, in milliseconds.
const BLOCK: usize = 1000;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// After a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// Where the stream is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to get there.
    pub server: Arc<upstream::Settings>,
    /// Who the gate is there, and which database. Not shown: it may hold a password.
    pub login: Login,
}

/// Who the gate is at the server.
#[derive(Clone)]
pub struct Login(RedisConnectionInfo);

/// One change of what is known of a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    /// Who tells it.
    pub from: String,
    /// The gate.
    pub gate: String,
    /// What has changed.
    pub what: What,
}

/// What has changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A grant was learned.
    Grant(GrantRow),
    /// A refresh token was.
    Refresh(RefreshRow),
    /// A token does not hold any more.
    End(TokenId, Standing),
    /// An operator has it forgotten.
    Forget(TokenId),
}

/// Tells changes to the others.
#[derive(Debug, Clone)]
pub struct Teller {
    from: Arc<str>,
    changes: mpsc::Sender<Change>,
    metrics: Arc<SharedMetrics>,
}

/// The task that keeps the stream.
#[derive(Debug)]
pub struct Link {
    settings: Settings,
    stream: String,
    from: Arc<str>,
    changes: mpsc::Receiver<Change>,
    /// What could not be written yet.
    unsent: VecDeque<Change>,
    metrics: Arc<SharedMetrics>,
}

/// The stream cannot be used.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("no connection")]
    Connect(#[from] upstream::ConnectError),
    #[error("Redis says no")]
    Redis(#[from] redis::RedisError),
    #[error("Redis does not answer in time")]
    Timeout,
    #[error("Redis answers something else than a stream's entries")]
    Unreadable,
}

impl Login {
    /// The user, password and database of a `redis://` or `rediss://` URL.
    ///
    /// # Errors
    /// If it is none.
    pub fn of(url: &str) -> Result<Self, String> {
        // TLS is the gate's own.
        let plain = url.replacen("rediss://", "redis://", 1);
        let info = plain.as_str().into_connection_info();
        info.map(|info| Self(info.redis_settings().clone()))
            .map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(***)")
    }
}

impl Teller {
    /// Tells a change. Nobody waits; what finds no room is counted.
    pub fn tell(&self, gate: &str, what: What) {
        let change = Change {
            from: self.from.to_string(),
            gate: gate.to_owned(),
            what,
        };
        if self.changes.try_send(change).is_err() {
            self.metrics.lost();
        }
    }
}

impl Link {
    /// The task, to be run, and the way to tell it changes. `from` is this instance's own name, `key` that of the key behind
    /// token ids.
    pub fn new(
        settings: Settings,
        from: &str,
        key: &str,
        metrics: Arc<SharedMetrics>,
    ) -> (Self, Teller) {
        let (sender, changes) = mpsc::channel(QUEUE);
        let from: Arc<str> = from.into();
        let teller = Teller {
            from: Arc::clone(&from),
            changes: sender,
            metrics: Arc::clone(&metrics),
        };
        let link = Self {
            settings,
            stream: format!("grantgate:{key}"),
            from,
            changes,
            unsent: VecDeque::new(),
            metrics,
        };
        (link, teller)
    }

    /// Keeps the stream: tells what changes here, and gives what others tell to `apply`, with the place up to which that
    /// was read. `last` is where reading went to before.
    pub async fn run<F>(mut self, mut last: String, apply: impl Fn(Vec<Change>, String) -> F)
    where
        F: Future<Output = ()>,
    {
        loop {
            let failed = self.keep(&mut last, &apply).await;
            let cause = match (&failed, std::error::Error::source(&failed)) {
                (failed, Some(source)) => format!("{failed}: {source}"),
                (failed, None) => failed.to_string(),
            };
            if self.metrics.down(&cause) {
                tracing::error!(
                    cause,
                    "what other instances learn is not heard: each goes on with what it knows"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn keep<F>(
        &mut self,
        last: &mut String,
        apply: &impl Fn(Vec<Change>, String) -> F,
    ) -> LinkError
    where
        F: Future<Output = ()>,
    {
        let (writer, reader) = match (self.connect().await, self.connect().await) {
            (Ok(writer), Ok(reader)) => (writer, reader),
            (Err(error), _) | (_, Err(error)) => return error,
        };
        if self.metrics.up() {
            tracing::info!(stream = self.stream, "other instances are heard");
        }
        let (stream, from) = (self.stream.clone(), Arc::clone(&self.from));
        tokio::select! {
            error = self.write(writer) => error,
            error = read(reader, &stream, &from, last, apply) => error,
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, LinkError> {
        let (stream, _) = self.settings.server.connect().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connected =
            MultiplexedConnection::new_with_config(&self.settings.login.0, stream, config);
        let (connection, driver) = tokio::time::timeout(PATIENCE, connected)
            .await
            .map_err(|_| LinkError::Timeout)??;
        // It ends with the last handle of the connection.
        tokio::spawn(driver);
        Ok(connection)
    }

    /// Writes changes until that fails; what was not written is kept for the next time.
    async fn write(&mut self, mut connection: MultiplexedConnection) -> LinkError {
        loop {
            if self.unsent.is_empty() {
                match self.changes.recv().await {
                    Some(change) => self.unsent.push_back(change),
                    None => std::future::pending().await,
                }
            }
            let Some(change) = self.unsent.front() else {
                continue;
            };
            let text = serde_json::to_string(change).unwrap_or_default();
            let mut add = redis::cmd("XADD");
            add.arg(&self.stream)
                .arg(&["MAXLEN", "~"])
                .arg(KEPT)
                .arg(&["*", "change", &text]);
            match tokio::time::timeout(PATIENCE, add.query_async::<Value>(&mut connection)).await {
                Ok(Ok(_)) => {
                    self.unsent.pop_front();
                    self.metrics.told();
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => return LinkError::Timeout,
            }
        }
    }
}

/// Reads what others tell until that fails.
async fn read<F>(
    mut connection: MultiplexedConnection,
    stream: &str,
    from: &str,
    last: &mut String,
    apply: &impl Fn(Vec<Change>, String) -> F,
) -> LinkError
where
    F: Future<Output = ()>,
{
    loop {
        let mut news = redis::cmd("XREAD");
        news.arg("COUNT")
            .arg(PAGE)
            .arg("BLOCK")
            .arg(BLOCK)
            .arg("STREAMS")
            .arg(stream)
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
        let Some((newest, _)) = entries.last() else {
            continue;
        };
        last.clone_from(newest);
        let changes: Vec<Change> = entries
            .iter()
            // What a later version tells is not for this one.
            .filter_map(|(_, text)| serde_json::from_str(text).ok())
            .filter(|change: &Change| change.from != from)
            .collect();
        apply(changes, last.clone()).await;
    }
}

/// The entries of an answer to `XREAD`, each with its id; none where there is no news.
fn entries(answer: Value) -> Option<Vec<(String, String)>> {
    let list = |value| match value {
        Value::Array(list) => Some(list),
        _ => None,
    };
    let text = |value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    };
    if answer == Value::Nil {
        return Some(Vec::new());
    }
    let mut found = Vec::new();
    for stream in list(answer)? {
        for entry in list(list(stream)?.pop()?)? {
            let mut entry = list(entry)?;
            let mut fields = list(entry.pop()?)?;
            found.push((text(entry.pop()?)?, text(fields.pop()?)?));
        }
    }
    Some(found)
}
