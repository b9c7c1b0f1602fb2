//! Step 3: credential → token id → grant. An unknown token may be asked about.

use super::exchange::Arrival;
use crate::grants::{AskedAbout, Known};
use std::time::Instant;

use crate::model::{
    Asked, Call, CredentialKind, CredentialRead, Grant, GrantView, Inspected, Location, Secret,
    TokenId,
};
use crate::snapshot::Gate;

/// Whose call it is.
#[derive(Debug)]
pub(super) struct Identity<'g> {
    /// The token by its id, what it is and where it stood; `None` where there is none or more than one.
    pub(super) token: Option<(TokenId, CredentialKind, Location)>,
    known: Option<Known<'g>>,
    /// By the clock of learned grants.
    now: u32,
}

/// Looks the call's credential up; where nothing is known of it, whoever may know more is asked.
pub(super) async fn identify<'g>(
    gate: &'g Gate,
    call: &Call<'_, '_>,
    arrival: Arrival,
) -> Identity<'g> {
    let grants = &*gate.grants;
    // A body may have taken its time since the head.
    let moment = match call.inspected {
        Inspected::None => arrival.instant,
        _ => Instant::now(),
    };
    let now = grants.learned().at(moment);
    let CredentialRead::One(credential) = &call.credential else {
        return Identity {
            token: None,
            known: None,
            now,
        };
    };
    let id = gate.token_key.identify(&credential.secret);
    let token = Some((id, credential.kind, credential.location));
    if let Some(known) = grants.known(id, now) {
        return Identity {
            token,
            known: Some(known),
            now,
        };
    }
    let about = || AskedAbout {
        kind: credential.kind,
        secret: Secret::new(credential.secret.expose().to_vec()),
    };
    let known = if grants.can_ask() && needs_grant(gate, call) {
        let known = Box::pin(grants.ask(id, about)).await;
        return Identity {
            token,
            known: Some(known),
            now: grants.learned().now(),
        };
    } else {
        grants.find(id, now)
    };
    Identity {
        token,
        known: Some(known),
        now,
    }
}

/// True if the verdict may hang on the grant: nobody is asked about what is refused anyway, or passes whatever is known.
fn needs_grant(gate: &Gate, call: &Call<'_, '_>) -> bool {
    let judged = !matches!(
        call.operation,
        Asked::Closed { .. } | Asked::TokenTraffic(_) | Asked::Preflight | Asked::Unparsed
    );
    judged && call.fault.is_none() && gate.rules.judges()
}

impl Identity<'_> {
    /// The view that the decision takes.
    pub(super) fn view(&self) -> GrantView<'_> {
        self.known.as_ref().map_or(GrantView::None, Known::view)
    }

    /// The grant, where one is known.
    pub(super) fn grant(&self) -> Option<&Grant> {
        self.known.as_ref().and_then(Known::grant)
    }

    /// The time by which the grant's end is judged, in seconds since 1970: learned grants have a clock that does not jump.
    pub(super) fn now(&self, wall: u32) -> u32 {
        match &self.known {
            Some(known) if known.is_learned() => self.now,
            _ => wall,
        }
    }
}
