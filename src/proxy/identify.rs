//! Step 3: credential → token id → grant.

use crate::grants::Known;
use crate::model::{Call, CredentialKind, CredentialRead, Grant, GrantView, Location, TokenId};
use crate::snapshot::Gate;

/// Whose call it is.
#[derive(Debug)]
pub(super) struct Identity<'g> {
    /// The token by its id, what it is and where it stood; `None` where there is none or more than one.
    pub(super) token: Option<(TokenId, CredentialKind, Location)>,
    known: Option<Known<'g>>,
}

/// Looks the call's credential up.
pub(super) fn identify<'g>(gate: &'g Gate, call: &Call<'_, '_>) -> Identity<'g> {
    let CredentialRead::One(credential) = &call.credential else {
        return Identity {
            token: None,
            known: None,
        };
    };
    let id = gate.token_key.identify(&credential.secret);
    Identity {
        token: Some((id, credential.kind, credential.location)),
        known: Some(gate.grants.find(id)),
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
}
