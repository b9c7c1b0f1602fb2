//! Step 3: credential → token id → grant. An unknown token may be asked about.

use crate::grants::{AskedAbout, Grants, Known};
use crate::model::{
    Call, CredentialKind, CredentialRead, Grant, GrantView, Location, Secret, TokenId,
};
use crate::snapshot::Gate;

/// Whose call it is.
#[derive(Debug)]
pub(super) struct Identity<'g> {
    /// The token by its id, what it is and where it stood; `None` where there is none or more than one.
    pub(super) token: Option<(TokenId, CredentialKind, Location)>,
    known: Option<Known<'g>>,
    grants: &'g Grants,
}

/// Looks the call's credential up; where nothing is known of it, whoever may know more is asked.
pub(super) async fn identify<'g>(gate: &'g Gate, call: &Call<'_, '_>) -> Identity<'g> {
    let grants = &*gate.grants;
    let CredentialRead::One(credential) = &call.credential else {
        return Identity {
            token: None,
            known: None,
            grants,
        };
    };
    let id = gate.token_key.identify(&credential.secret);
    let token = Some((id, credential.kind, credential.location));
    if let Some(known) = grants.known(id) {
        return Identity {
            token,
            known: Some(known),
            grants,
        };
    }
    // Nothing is asked for what is refused anyway.
    let about = || AskedAbout {
        kind: credential.kind,
        secret: Secret::new(credential.secret.expose().to_vec()),
    };
    let known = if grants.can_ask() && call.fault.is_none() {
        Box::pin(grants.ask(id, about)).await
    } else {
        grants.find(id)
    };
    Identity {
        token,
        known: Some(known),
        grants,
    }
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
            Some(known) if known.is_learned() => self.grants.learned().now(),
            _ => wall,
        }
    }
}
