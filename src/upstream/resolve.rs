//! Names: resolved for each new connection, and remembered for when they cannot be.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::PrivateAddresses;

/// How long the addresses that a name had last may stand in for those that it has.
const KEPT: Duration = Duration::from_mins(10);

/// Addresses, and when a name was found to have them.
type Found = (Instant, Vec<SocketAddr>);

/// The addresses that a name had last, and the one look-up that may be under way.
#[derive(Debug, Default)]
pub struct LastKnown {
    found: Arc<Mutex<Option<Found>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl LastKnown {
    /// The addresses of a host; those of the last time, not older than ten minutes, if it has none now that may be used, or its
    /// resolver does not answer within `patience`.
    ///
    /// A look-up cannot be broken off and holds a thread until its resolver answers: each host has at most one, and none of
    /// those that others wait for.
    ///
    /// # Errors
    /// If it cannot be resolved and nothing is known.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
        patience: Duration,
        private: PrivateAddresses,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            // Written in the configuration: nobody is asked.
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let looked_up = timeout(patience, self.look_up(host, port, private));
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the resolver does not answer");
        let error = match looked_up.await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error,
            Err(_) => late(),
        };
        match &*lock(&self.found) {
            Some((at, known)) if at.elapsed() < KEPT => {
                tracing::debug!(%error, "the name cannot be resolved: its last addresses are used");
                Ok(known.clone())
            }
            _ => Err(error),
        }
    }

    async fn look_up(
        &self,
        host: &str,
        port: u16,
        private: PrivateAddresses,
    ) -> io::Result<Vec<SocketAddr>> {
        let came = Instant::now();
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some((at, found)) = &*lock(&self.found)
            && *at > came
        {
            // Whoever had the turn before has asked meanwhile.
            return Ok(found.clone());
        }
        let (tell, told) = oneshot::channel();
        let (host, found) = (host.to_owned(), Arc::clone(&self.found));
        std::thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                let asked = ask(&host, port, private);
                if let Ok(addresses) = &asked {
                    *lock(&found) = Some((Instant::now(), addresses.clone()));
                }
                drop(turn);
                // Whoever waited may have given up.
                let _ = tell.send(asked);
            })?;
        let gone = |_| io::Error::other("the look-up ended without an answer");
        told.await.map_err(gone)?
    }
}

/// Asks the system's resolver.
fn ask(host: &str, port: u16, private: PrivateAddresses) -> io::Result<Vec<SocketAddr>> {
    let mut told = (host, port).to_socket_addrs()?.peekable();
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
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const ANY: PrivateAddresses = PrivateAddresses::Allow;

    #[tokio::test]
    async fn the_last_addresses_stand_in_for_a_while() {
        let known = LastKnown::default();
        assert!(
            known
                .resolve("name.invalid", 1, PATIENCE, ANY)
                .await
                .is_err()
        );
        let found = known.resolve("localhost", 1, PATIENCE, ANY).await.unwrap();
        let stands_in = known.resolve("name.invalid", 1, PATIENCE, ANY).await;
        assert_eq!(stands_in.unwrap(), found);
        *lock(&known.found) = Some((Instant::now() - KEPT, found));
        assert!(
            known
                .resolve("name.invalid", 1, PATIENCE, ANY)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_private_answer_is_none_unless_it_is_written() {
        let known = LastKnown::default();
        let public = PrivateAddresses::Refuse;
        let error = known.resolve("localhost", 1, PATIENCE, public).await;
        assert!(error.unwrap_err().to_string().contains("private_addresses"));
        let before: Vec<SocketAddr> = vec!["192.88.99.1:1".parse().unwrap()];
        *lock(&known.found) = Some((Instant::now(), before.clone()));
        let found = known.resolve("localhost", 1, PATIENCE, public).await;
        assert_eq!(found.unwrap(), before, "what it had last stands in");
        let written = known.resolve("127.0.0.1", 1, PATIENCE, public).await;
        assert_eq!(written.unwrap(), ["127.0.0.1:1".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_has_one_thread() {
        let known = LastKnown::default();
        // As if a look-up were under way.
        let turn = Arc::clone(&known.turn).lock_owned().await;
        let short = Duration::from_millis(20);
        for _ in 0..3 {
            let late = known.resolve("localhost", 1, short, ANY).await;
            assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        drop(turn);
        assert!(known.resolve("localhost", 1, PATIENCE, ANY).await.is_ok());
    }
}
