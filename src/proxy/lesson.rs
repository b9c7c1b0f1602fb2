//! What an answer's body teaches: a token that was issued, or what the vendor has against a call that was permitted. It is
//! learned before the app has the last piece.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::audit::EventId;
use crate::grants::{Expected, Grants, Objected};
use crate::model::{Asked, ScopeSet, TokenId};
use crate::policy;
use crate::vendor::{Objection, Vendor};

/// The longest body that is learned from, in bytes.
const MOST: usize = 64 * 1024;

/// Learns from one answer, whose last piece it keeps until it has.
pub(super) struct Lesson {
    about: About,
    vendor: Vendor,
    grants: Arc<Grants>,
    bytes: Zeroizing<Vec<u8>>,
    held: Option<Bytes>,
    learning: Option<JoinHandle<()>>,
}

/// What the answer is to.
pub(super) enum About {
    /// A token request.
    Token(Box<Expected>),
    /// A call that the gate had permitted.
    Call(Box<Permission>),
}

/// A call that was permitted.
pub(super) struct Permission {
    call: EventId,
    token: TokenId,
    operation: Box<str>,
    required: Vec<ScopeSet>,
    status: u16,
}

impl Permission {
    pub(super) fn new(call: EventId, token: TokenId, asked: &Asked<'_>, status: u16) -> Self {
        Self {
            call,
            token,
            operation: asked.name().into(),
            required: asked
                .need()
                .map_or_else(Vec::new, |need| policy::required(need).to_vec()),
            status,
        }
    }
}

impl Lesson {
    pub(super) fn new(about: About, vendor: Vendor, grants: &Arc<Grants>) -> Self {
        Self {
            about,
            vendor,
            grants: Arc::clone(grants),
            bytes: Zeroizing::default(),
            held: None,
            learning: None,
        }
    }

    /// Takes the next piece; gives what may go to the app.
    pub(super) fn hold(&mut self, piece: Bytes) -> Option<Bytes> {
        if self.bytes.len() + piece.len() <= MOST {
            self.bytes.extend_from_slice(&piece);
        } else {
            // It is too long for what it should be: it teaches nothing.
            self.bytes.clear();
            self.bytes.resize(MOST, b' ');
        }
        self.held.replace(piece)
    }

    /// What is held, where the answer breaks off: it teaches nothing.
    pub(super) fn release(&mut self) -> Option<Bytes> {
        self.held.take()
    }

    /// Begins to learn: the body is whole. Says what the vendor has against the call.
    ///
    /// It goes on if the app goes away.
    pub(super) fn begin(&mut self) -> Option<Objection> {
        let grants = Arc::clone(&self.grants);
        match &mut self.about {
            About::Token(expected) => {
                let answer = self.vendor.token_answer(&self.bytes)?;
                let expected = expected.clone();
                self.learning = Some(tokio::spawn(async move {
                    grants.learn(&expected, &answer).await;
                }));
                None
            }
            About::Call(permission) => {
                let objection = self.vendor.objection(permission.status, &self.bytes)?;
                let (call, token) = (permission.call, permission.token);
                let operation = std::mem::take(&mut permission.operation);
                let required = std::mem::take(&mut permission.required);
                let told = objection.clone();
                self.learning = Some(tokio::spawn(async move {
                    let objected = Objected {
                        call,
                        token,
                        operation: &operation,
                        required: &required,
                        objection: &told,
                    };
                    grants.note_objection(&objected).await;
                }));
                Some(objection)
            }
        }
    }

    /// Waits until it is learned; then the last piece may go.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(learning) = &mut self.learning {
            // A task that panicked has said so; the app gets its answer.
            std::task::ready!(Pin::new(learning).poll(cx)).unwrap_or_default();
            self.learning = None;
        }
        Poll::Ready(self.held.take())
    }
}

/// A token that the app asks the vendor to revoke. If the app goes away before the vendor's word is there, nobody knows, and
/// what nobody knows is not trusted: dropped, the token is taken for revoked, once the request has gone.
#[derive(Debug)]
pub(super) struct Revoking {
    grants: Arc<Grants>,
    token: Option<TokenId>,
    gone: bool,
}

impl Revoking {
    pub(super) fn new(grants: &Arc<Grants>, token: TokenId) -> Self {
        Self {
            grants: Arc::clone(grants),
            token: Some(token),
            gone: false,
        }
    }

    /// The request goes to the vendor.
    pub(super) const fn goes(&mut self) {
        self.gone = true;
    }

    /// The vendor has not agreed: the token stays what it was.
    pub(super) fn dismiss(mut self) {
        self.token = None;
    }

    /// The vendor has agreed, or may have. It is done even if the app goes away meanwhile.
    pub(super) async fn revoke(mut self) {
        if let Some(task) = self.spawn() {
            // A task that panicked has said so.
            let _ = task.await;
        }
    }

    fn spawn(&mut self) -> Option<JoinHandle<()>> {
        let (token, grants) = (self.token.take()?, Arc::clone(&self.grants));
        // The program may be ending, and what is spawned now never run.
        grants.begin_revoking(token);
        Some(tokio::spawn(async move { grants.revoke(token).await }))
    }
}

impl Drop for Revoking {
    fn drop(&mut self) {
        if self.gone {
            self.spawn();
        }
    }
}

impl std::fmt::Debug for Lesson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lesson").finish_non_exhaustive()
    }
}
