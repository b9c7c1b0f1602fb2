//! What keeps asking within bounds: a rate, and a short memory of what was refused.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::Answered;
use crate::model::TokenId;

/// How many tokens that nobody knows are remembered for a gate.
const REFUSED: usize = 4096;

/// For how long they are.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// Questions that may be put: so many at once, and so many more each minute.
#[derive(Debug, Default)]
pub(super) struct Bucket(Option<(f64, Instant)>);

impl Bucket {
    /// Takes one question; false if there is none left. A third of a minute's may be put at once, and five at least.
    pub(super) fn pay(&mut self, per_minute: u32) -> bool {
        let (now, a_minute) = (Instant::now(), f64::from(per_minute));
        let most = (a_minute / 3.0).max(5.0).min(a_minute);
        let (left, looked) = self.0.unwrap_or((most, now));
        let passed = now.duration_since(looked).as_secs_f64();
        let left = (left + passed * a_minute / 60.0).min(most);
        let paid = left >= 1.0;
        self.0 = Some((if paid { left - 1.0 } else { left }, now));
        paid
    }
}

/// Tokens that were refused a moment ago, oldest first.
#[derive(Debug, Default)]
pub(super) struct Refused {
    by_token: HashMap<TokenId, (Answered, Instant)>,
    order: VecDeque<(TokenId, Instant)>,
}

impl Refused {
    pub(super) fn get(&mut self, token: TokenId) -> Option<Answered> {
        self.forget();
        self.by_token.get(&token).map(|(answered, _)| *answered)
    }

    pub(super) fn add(&mut self, token: TokenId, answered: Answered) {
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
