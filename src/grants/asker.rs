//! Asking about unknown tokens: one question at a time for each, never more than a set rate, with a deadline.
//!
//! One task asks for all cores, so that a token has one question, whoever waits for it. What a vendor does not know is
//! remembered for a moment, in bounded room. An outage is no answer: whoever waited hears so, and the next call asks again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinSet};

use super::Learned;
use super::bounds::{Bucket, Refused};
use super::question::{Questions, Way};
use super::scene::Scene;
use super::teach::learn_finding;
use crate::model::{CredentialKind, Secret, TokenId};

/// How many calls may wait for the task to take notice of them.
const QUEUE: usize = 4096;

/// How many calls may wait for answers.
const WAITING: usize = 8192;

/// How many tokens may be looked for at once, on the disk and at vendors: the disk is there for token answers too.
const AT_ONCE: usize = 256;

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
    /// What each task works on.
    working: HashMap<task::Id, (u16, TokenId)>,
    pool: Arc<Questions>,
}

/// What is being asked for a gate, and what was.
#[derive(Debug, Default)]
struct Asked {
    bucket: Bucket,
    waiting: HashMap<TokenId, Vec<oneshot::Sender<Answered>>>,
    refused: Refused,
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
        // A task that is gone, or held up, asks nobody.
        let patience = gate.limits.deadline + Duration::from_secs(1);
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) | Err(_) => Answered::Unavailable,
        }
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
            working: HashMap::new(),
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
                Some(done) = working.join_next_with_id() => {
                    let (id, answered) = match done {
                        Ok((id, answered)) => (id, answered),
                        // It panicked, and has said so.
                        Err(error) => (error.id(), Answered::Unavailable),
                    };
                    if let Some((gate, token)) = self.working.remove(&id) {
                        self.answer(gate, token, answered);
                    }
                }
            }
        }
    }

    fn take(&mut self, question: Question, working: &mut JoinSet<Answered>) {
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
        if working.len() >= AT_ONCE {
            return refused(reply, Answered::Unavailable);
        }
        let asks = gate.way.can_ask(gate.scene.vendor, subject.kind);
        let paid = asks && asked.bucket.pay(gate.limits.per_minute);
        if asks && !paid && !gate.learned.may_be_on_disk() {
            gate.scene.metrics.asked("over_rate");
            return refused(reply, Answered::Unavailable);
        }
        asked.waiting.insert(token, vec![reply]);
        self.waiting += 1;
        let pool = Arc::clone(&self.pool);
        let index = gate.index;
        let task = working.spawn(async move {
            let deadline = gate.limits.deadline;
            let find = find(&gate, &pool, token, subject, asks, paid);
            let answered = tokio::time::timeout(deadline, find).await;
            answered.unwrap_or(Answered::Unavailable)
        });
        self.working.insert(task.id(), (index, token));
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
    let recalled = match known {
        Some(_) => false,
        None => match learned.recall(token, scene).await {
            Ok(recalled) => recalled,
            // It may be known to be narrow, or at its end.
            Err(_) => return Answered::Unavailable,
        },
    };
    if recalled {
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
