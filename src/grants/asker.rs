//! Asking about unknown tokens: one question at a time for each, never more than a set rate, with a deadline.
//!
//! One task asks for all cores, so that a token has one question, whoever waits for it. What a vendor does not know is
//! remembered for a moment, in bounded room. An outage is no answer: whoever waited hears so, and the next call asks again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Learned;
use super::question::{Questions, Way};
use super::scene::Scene;
use super::teach::learn_finding;
use crate::model::{CredentialKind, Secret, TokenId};

/// How many calls may wait for the task to take notice of them.
const QUEUE: usize = 4096;

/// How many calls may wait for answers.
const WAITING: usize = 8192;

/// How many tokens that nobody knows are remembered for a gate.
const REFUSED: usize = 4096;

/// For how long they are.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// The grant is in the table now.
    Known,
    /// Nobody knows the token.
    Unknown,
    /// Its time is over.
    Expired,
    /// It does not hold any more.
    Revoked,
    /// Nobody could be asked now.
    Unavailable,
}

/// How much asking a gate allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskerLimits {
    /// The longest wait for an answer.
    pub deadline: Duration,
    /// Questions a minute; a third of it, and five at least, may come at once.
    pub per_minute: u32,
    /// After how many seconds a learned grant is asked about again; `None` for never.
    pub longest_trust: Option<u32>,
}

/// A token that is asked about.
#[derive(Debug)]
pub struct Subject {
    /// What it is.
    pub kind: CredentialKind,
    /// Its bytes.
    pub secret: Secret<'static>,
}

/// A gate's way to ask.
#[derive(Debug, Clone)]
pub struct Inquiry {
    questions: mpsc::Sender<Question>,
    gate: Arc<AskingGate>,
}

#[derive(Debug)]
struct AskingGate {
    index: u16,
    scene: Scene,
    learned: Arc<Learned>,
    way: Way,
    limits: AskerLimits,
}

#[derive(Debug)]
struct Question {
    gate: Arc<AskingGate>,
    token: TokenId,
    subject: Subject,
    reply: oneshot::Sender<Answered>,
}

/// The task that asks.
#[derive(Debug)]
pub struct Asker {
    questions: mpsc::Receiver<Question>,
    gates: HashMap<u16, Asked>,
    waiting: usize,
    pool: Arc<Questions>,
}

/// What is being asked for a gate, and what was.
#[derive(Debug, Default)]
struct Asked {
    bucket: Option<Bucket>,
    waiting: HashMap<TokenId, Vec<oneshot::Sender<Answered>>>,
    refused: Refused,
}

/// Questions that may be put: so many at once, and so many more each minute.
#[derive(Debug)]
struct Bucket {
    left: f64,
    looked: Instant,
}

/// Tokens that were refused a moment ago, oldest first.
#[derive(Debug, Default)]
struct Refused {
    by_token: HashMap<TokenId, (Answered, Instant)>,
    order: VecDeque<(TokenId, Instant)>,
}

/// The way to the task, before a gate is given to it.
#[derive(Debug, Clone)]
pub struct AskerHandle(mpsc::Sender<Question>);

impl AskerHandle {
    /// A gate's way to ask.
    pub fn inquiry(
        &self,
        index: u16,
        scene: Scene,
        learned: Arc<Learned>,
        way: Way,
        limits: AskerLimits,
    ) -> Inquiry {
        Inquiry {
            questions: self.0.clone(),
            gate: Arc::new(AskingGate {
                index,
                scene,
                learned,
                way,
                limits,
            }),
        }
    }
}

impl Inquiry {
    /// Asks about a token, or waits for the answer that somebody else waits for.
    pub(super) async fn ask(&self, token: TokenId, subject: Subject) -> Answered {
        let gate = &self.gate;
        let asks = gate.way.can_ask(gate.scene.vendor, subject.kind);
        if !asks && !gate.learned.may_be_on_disk() {
            return Answered::Unknown;
        }
        let (reply, answer) = oneshot::channel();
        let question = Question {
            gate: Arc::clone(gate),
            token,
            subject,
            reply,
        };
        if self.questions.try_send(question).is_err() {
            return Answered::Unavailable;
        }
        // A task that is gone asks nobody.
        answer.await.unwrap_or(Answered::Unavailable)
    }

    /// True if access tokens can be asked about, and not only looked up on the disk.
    pub(super) fn asks(&self) -> bool {
        self.gate
            .way
            .can_ask(self.gate.scene.vendor, CredentialKind::Access)
    }

    /// After how many seconds a learned grant is asked about again.
    pub(super) fn longest_trust(&self) -> Option<u32> {
        self.gate.limits.longest_trust
    }
}

impl Asker {
    /// The task, to be run, and the way to it.
    pub fn new() -> (Self, AskerHandle) {
        let (sender, questions) = mpsc::channel(QUEUE);
        let asker = Self {
            questions,
            gates: HashMap::new(),
            waiting: 0,
            pool: Arc::default(),
        };
        (asker, AskerHandle(sender))
    }

    /// Asks until nobody can ask any more.
    pub async fn run(mut self) {
        let mut working = JoinSet::new();
        loop {
            tokio::select! {
                question = self.questions.recv() => match question {
                    Some(question) => self.take(question, &mut working),
                    None => return,
                },
                Some(done) = working.join_next() => {
                    if let Ok((gate, token, answered)) = done {
                        self.answer(gate, token, answered);
                    }
                }
            }
        }
    }

    fn take(&mut self, question: Question, working: &mut JoinSet<(u16, TokenId, Answered)>) {
        let Question {
            gate,
            token,
            subject,
            reply,
        } = question;
        let asked = self.gates.entry(gate.index).or_default();
        let refused = |reply: oneshot::Sender<Answered>, answered| {
            // Whoever asked may have gone.
            let _ = reply.send(answered);
        };
        if let Some(answered) = asked.refused.get(token) {
            gate.scene.metrics.asked("remembered");
            return refused(reply, answered);
        }
        if self.waiting >= WAITING {
            return refused(reply, Answered::Unavailable);
        }
        if let Some(others) = asked.waiting.get_mut(&token) {
            others.push(reply);
            self.waiting += 1;
            return;
        }
        let asks = gate.way.can_ask(gate.scene.vendor, subject.kind);
        let paid = asks && asked.pay(gate.limits.per_minute);
        if asks && !paid && !gate.learned.may_be_on_disk() {
            gate.scene.metrics.asked("over_rate");
            return refused(reply, Answered::Unavailable);
        }
        asked.waiting.insert(token, vec![reply]);
        self.waiting += 1;
        let pool = Arc::clone(&self.pool);
        working.spawn(async move {
            let deadline = gate.limits.deadline;
            let find = find(&gate, &pool, token, subject, asks, paid);
            let answered = tokio::time::timeout(deadline, find).await;
            (gate.index, token, answered.unwrap_or(Answered::Unavailable))
        });
    }

    fn answer(&mut self, gate: u16, token: TokenId, answered: Answered) {
        let Some(asked) = self.gates.get_mut(&gate) else {
            return;
        };
        if !matches!(answered, Answered::Known | Answered::Unavailable) {
            asked.refused.add(token, answered);
        }
        for reply in asked.waiting.remove(&token).into_iter().flatten() {
            self.waiting -= 1;
            // Whoever asked may have gone.
            let _ = reply.send(answered);
        }
    }
}

/// Looks on the disk, then asks.
async fn find(
    gate: &AskingGate,
    pool: &Arc<Questions>,
    token: TokenId,
    subject: Subject,
    asks: bool,
    paid: bool,
) -> Answered {
    let AskingGate {
        scene,
        learned,
        way,
        limits,
        ..
    } = gate;
    let fresh = |obtained: u32| {
        limits
            .longest_trust
            .is_none_or(|age| obtained.saturating_add(age) > learned.now())
    };
    // Another generation's call may have asked before.
    let known = learned.get(token).map(|grant| grant.obtained);
    if known.is_some_and(fresh) {
        return Answered::Known;
    }
    if known.is_none() && learned.recall(token, scene).await {
        let obtained = learned.get(token).map(|grant| grant.obtained);
        if obtained.is_some_and(fresh) {
            return Answered::Known;
        }
    }
    if !asks {
        return Answered::Unknown;
    }
    if !paid {
        scene.metrics.asked("over_rate");
        return Answered::Unavailable;
    }
    let finding = way
        .put(pool, scene.vendor, subject.kind, &subject.secret)
        .await;
    let answered = learn_finding(scene, learned, token, way.source(), finding).await;
    scene.metrics.asked(match answered {
        Answered::Known => "known",
        Answered::Unknown => "unknown",
        Answered::Expired => "expired",
        Answered::Revoked => "revoked",
        Answered::Unavailable => "unavailable",
    });
    answered
}

impl Asked {
    /// Takes one question from the bucket; false if it is empty.
    fn pay(&mut self, per_minute: u32) -> bool {
        let now = Instant::now();
        let most = (f64::from(per_minute) / 3.0)
            .max(5.0)
            .min(f64::from(per_minute));
        let bucket = self.bucket.get_or_insert(Bucket {
            left: most,
            looked: now,
        });
        let passed = now.duration_since(bucket.looked).as_secs_f64();
        bucket.left = (bucket.left + passed * f64::from(per_minute) / 60.0).min(most);
        bucket.looked = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

impl Refused {
    fn get(&mut self, token: TokenId) -> Option<Answered> {
        self.forget();
        self.by_token.get(&token).map(|(answered, _)| *answered)
    }

    fn add(&mut self, token: TokenId, answered: Answered) {
        let now = Instant::now();
        if self.order.len() >= REFUSED
            && let Some((oldest, since)) = self.order.pop_front()
        {
            self.drop_if(oldest, since);
        }
        self.by_token.insert(token, (answered, now));
        self.order.push_back((token, now));
    }

    fn forget(&mut self) {
        while let Some((token, since)) = self.order.front().copied()
            && since.elapsed() > REFUSED_FOR
        {
            self.order.pop_front();
            self.drop_if(token, since);
        }
    }

    /// Forgets a token, unless it was refused again since.
    fn drop_if(&mut self, token: TokenId, since: Instant) {
        if self
            .by_token
            .get(&token)
            .is_some_and(|(_, at)| *at == since)
        {
            self.by_token.remove(&token);
        }
    }
}
