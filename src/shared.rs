//! What instances tell each other of tokens, by a stream in Redis or Valkey (`[state] redis`).
//!
//! Each change of a grant is an entry of one stream; each instance reads on from where it was, so that an outage loses
//! nothing that the stream still holds. No call waits for it: without Redis every gate goes on with what it knows. The
//! stream's name has a name of the key behind token ids: instances with another key do not see it.

mod hearing;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hearing::{Ear, entry, id, seal};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, IntoConnectionInfo as _, RedisConnectionInfo, Value};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::model::{Standing, TokenId, TokenIdKey};
use crate::store::{GrantRow, RefreshRow};
use crate::telemetry::SharedMetrics;
use crate::upstream;

/// How many changes may wait while Redis is out of order.
const QUEUE: usize = 65_536;

/// How many entries the stream keeps, about.
const KEPT: usize = 200_000;

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
    /// A digest of all that was configured of it.
    pub digest: String,
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
    key: Arc<TokenIdKey>,
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
        let protocol = redis::ProtocolVersion::RESP2;
        info.map(|info| Self(info.redis_settings().clone().set_protocol(protocol)))
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
    /// The task, to be run, and the way to tell it changes. `from` is this instance's own name, `key` the one behind token
    /// ids, by which entries are sealed.
    pub fn new(
        settings: Settings,
        from: &str,
        key: Arc<TokenIdKey>,
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
            stream: format!("grantgate:{}", key.fingerprint()),
            key,
            from,
            changes,
            unsent: VecDeque::new(),
            metrics,
        };
        (link, teller)
    }

    /// Keeps the stream: tells what changes here, and gives what others tell to `apply`, with the place up to which that
    /// was read, until it says that it is kept. `last` is where reading went to before; `None` to begin at the beginning.
    pub async fn run<F>(mut self, last: Option<String>, apply: impl Fn(Vec<Change>, String) -> F)
    where
        F: Future<Output = bool>,
    {
        let mut last = last.unwrap_or_else(|| "0".to_owned());
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
        F: Future<Output = bool>,
    {
        let (writer, mut reader) = match (self.connect().await, self.connect().await) {
            (Ok(writer), Ok(reader)) => (writer, reader),
            (Err(error), _) | (_, Err(error)) => return error,
        };
        match self.newest(&mut reader).await {
            // Another server, or one that has lost its memory: all of it is news.
            Ok(newest) if newest < id(last) => "0".clone_into(last),
            Ok(_) => {}
            Err(error) => return error,
        }
        if self.metrics.up() {
            tracing::info!(stream = self.stream, "other instances are heard");
        }
        let ear = Ear {
            stream: self.stream.clone(),
            from: Arc::clone(&self.from),
            key: Arc::clone(&self.key),
        };
        tokio::select! {
            error = self.write(writer) => error,
            error = ear.read(reader, last, apply) => error,
        }
    }

    /// The id of the stream's newest entry; zeros where there is none.
    async fn newest(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(u64, u64), LinkError> {
        let mut ask = redis::cmd("XREVRANGE");
        ask.arg(&self.stream).arg(&["+", "-", "COUNT", "1"]);
        let answer = tokio::time::timeout(PATIENCE, ask.query_async::<Value>(connection));
        let answer = answer.await.map_err(|_| LinkError::Timeout)??;
        let Value::Array(entries) = answer else {
            return Err(LinkError::Unreadable);
        };
        let newest = entries.into_iter().next().and_then(entry);
        Ok(newest.map_or((0, 0), |(newest, ..)| id(&newest)))
    }

    /// A name of the stream and where it is, for the place that was read to.
    pub fn place(&self) -> String {
        format!("{} at {}", self.stream, self.settings.server.authority)
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
            let seal = seal(&self.key, &text);
            let mut add = redis::cmd("XADD");
            add.arg(&self.stream)
                .arg(&["MAXLEN", "~"])
                .arg(KEPT)
                .arg(&["*", "change", &text, "seal", &seal]);
            match tokio::time::timeout(PATIENCE, add.query_async::<Value>(&mut connection)).await {
                Ok(Ok(_)) => {
                    self.unsent.pop_front();
                    self.metrics.told();
                }
                // It has no room, or may not write now: others are heard all the same.
                Ok(Err(error)) if !error.is_io_error() => {
                    tracing::warn!(%error, "others cannot be told now what is learned");
                    tokio::time::sleep(PATIENCE).await;
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => return LinkError::Timeout,
            }
        }
    }
}
