//! Load: clients that call as fast as they are let, or at a set pace, and what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Client;

/// What clients were told.
#[derive(Debug, Default, Clone)]
pub struct Told {
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Connections that ended without an answer, or within one.
    pub broken: u64,
    /// Answers to another call than the one that was made, where the portal says which one it answers.
    pub strange: u64,
    /// How long each answer took.
    pub times: Vec<Duration>,
    /// The ids of the calls that were answered with 403.
    pub denied: Vec<String>,
}

impl Told {
    pub fn of(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// Takes what was told elsewhere too.
    pub fn add(&mut self, more: Self) {
        for (status, count) in more.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.broken += more.broken;
        self.strange += more.strange;
        self.times.extend(more.times);
        self.denied.extend(more.denied);
    }

    pub fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// The time that so many of a hundred answers did not exceed.
    pub fn percentile(&self, of_hundred: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        times
            .get((times.len() * of_hundred / 100).min(last))
            .copied()
            .unwrap_or_default()
    }
}

/// What the clients do.
#[derive(Clone)]
pub struct Plan {
    pub address: String,
    pub token: &'static str,
    pub clients: usize,
    /// Between two calls of one client; zero for none.
    pub pause: Duration,
    /// Of ten calls so many are outside the scopes.
    pub refused: u64,
    /// Whether the portal puts each call's id into its answer.
    pub is_echoed: bool,
}

impl Plan {
    pub fn of(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            token: "at-1",
            clients: 8,
            pause: Duration::ZERO,
            refused: 3,
            is_echoed: false,
        }
    }
}

/// Clients at work. Each call has an `x-request-id` of its own.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    told: Arc<Mutex<Told>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(plan: &Plan) -> Self {
        let load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            told: Arc::default(),
            clients: Vec::new(),
        };
        let clients = (0..plan.clients)
            .map(|client| {
                let (stop, answered, told) = (
                    Arc::clone(&load.stop),
                    Arc::clone(&load.answered),
                    Arc::clone(&load.told),
                );
                let plan = plan.clone();
                std::thread::spawn(move || work(&plan, client, &stop, &answered, &told))
            })
            .collect();
        Self { clients, ..load }
    }

    /// How many answers there were so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until the clients have got so many answers more.
    pub fn more(&self, answers: u64) -> &Self {
        let wanted = self.answered() + answers;
        let until = Instant::now() + Duration::from_secs(120);
        while self.answered() < wanted {
            assert!(Instant::now() < until, "the load stands still");
            std::thread::yield_now();
        }
        self
    }

    pub fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    /// Forgets what was told so far.
    pub fn forget(&self) -> Told {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    pub fn stop(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        Arc::try_unwrap(self.told).unwrap().into_inner().unwrap()
    }
}

fn work(plan: &Plan, client: usize, stop: &AtomicBool, answered: &AtomicU64, told: &Mutex<Told>) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let mut connection: Option<Client> = None;
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let began = Instant::now();
        let method = if number % 10 < plan.refused {
            "task.item.list"
        } else {
            "crm.deal.list"
        };
        let id = format!("{run}-{client}-{number}");
        let request = format!(
            "GET /rest/{method} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {}\r\nx-request-id: {id}\r\n\r\n",
            plan.token
        );
        if connection.is_none() {
            connection = Client::try_connect(&plan.address);
        }
        let answer = connection
            .as_mut()
            .and_then(|client| client.send(request.as_bytes()).answer());
        let mut told = told.lock().unwrap();
        match answer {
            Some(answer) if answer.whole => {
                *told.statuses.entry(answer.status).or_default() += 1;
                told.times.push(began.elapsed());
                if answer.status == 403 {
                    told.denied.push(id.clone());
                }
                let is_of_portal = plan.is_echoed && answer.status == 200;
                told.strange +=
                    u64::from(is_of_portal && !answer.text().contains(&format!("{id:?}")));
                drop(told);
                answered.fetch_add(1, Ordering::Relaxed);
                if answer.header("connection") == Some("close") {
                    connection = None;
                }
            }
            _ => {
                told.broken += 1;
                drop(told);
                connection = None;
            }
        }
        if let Some(left) = plan.pause.checked_sub(began.elapsed()) {
            std::thread::park_timeout(left);
        }
    }
}
