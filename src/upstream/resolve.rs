//! Names: resolved for each new connection, and remembered for when they cannot be.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{ToSocketAddrs, lookup_host};
use tokio::time::{Instant, timeout};

use super::PrivateAddresses;

/// How long the addresses that a name had last may stand in for those that it has.
const KEPT: Duration = Duration::from_mins(10);

/// The addresses that a name had last.
#[derive(Debug, Default)]
pub struct LastKnown(Mutex<Option<(Instant, Vec<SocketAddr>)>>);

impl LastKnown {
    /// The addresses of a place; those of the last time, not older than ten minutes, if it has none now that may be
    /// used, or its resolver does not answer within `patience`.
    ///
    /// # Errors
    /// If it cannot be resolved and nothing is known.
    pub(super) async fn resolve(
        &self,
        place: impl ToSocketAddrs,
        patience: Duration,
        private: PrivateAddresses,
    ) -> io::Result<Vec<SocketAddr>> {
        let looked_up = async {
            let mut told = lookup_host(place).await?.peekable();
            let none = if told.peek().is_none() {
                "the name has no address"
            } else {
                "the name has private addresses only, which `private_addresses` refuses"
            };
            let found: Vec<SocketAddr> = told.filter(|address| private.permits(*address)).collect();
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, none));
            }
            Ok(found)
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the resolver does not answer");
        let error = match timeout(patience, looked_up).await {
            Ok(Ok(found)) => {
                *self.lock() = Some((Instant::now(), found.clone()));
                return Ok(found);
            }
            Ok(Err(error)) => error,
            Err(_) => late(),
        };
        match &*self.lock() {
            Some((at, known)) if at.elapsed() < KEPT => {
                tracing::debug!(%error, "the name cannot be resolved: its last addresses are used");
                Ok(known.clone())
            }
            _ => Err(error),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Vec<SocketAddr>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_addresses_stand_in_for_a_while() {
        let known = LastKnown::default();
        let patience = Duration::from_secs(1);
        let lost = "name.invalid:1";
        let any = PrivateAddresses::Allow;
        assert!(known.resolve(lost, patience, any).await.is_err());
        let found = known.resolve("127.0.0.1:1", patience, any).await.unwrap();
        assert_eq!(known.resolve(lost, patience, any).await.unwrap(), found);
        *known.lock() = Some((Instant::now() - KEPT, found));
        assert!(known.resolve(lost, patience, any).await.is_err());
    }

    #[tokio::test]
    async fn a_private_answer_is_none() {
        let known = LastKnown::default();
        let patience = Duration::from_secs(1);
        let public = PrivateAddresses::Refuse;
        let error = known.resolve("127.0.0.1:1", patience, public).await;
        assert!(error.unwrap_err().to_string().contains("private_addresses"));
        let before = vec!["192.88.99.1:1".parse().unwrap()];
        *known.lock() = Some((Instant::now(), before.clone()));
        let found = known.resolve("127.0.0.1:1", patience, public).await;
        assert_eq!(found.unwrap(), before, "what it had last stands in");
    }
}
