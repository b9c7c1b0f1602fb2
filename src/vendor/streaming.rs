//! What looks at bodies, or changes answers, while they stream by.

use bytes::Bytes;

use super::{bitrix24, livechat};
use crate::model::Fault;

/// Makes the answer to a divided batch whole again, while it streams by.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "whoever keeps one keeps it in a box"
)]
pub enum Splicer {
    /// As a Bitrix24 portal answers.
    Bitrix24(bitrix24::Splicer),
    /// As LiveChat answers.
    LiveChat(livechat::Splicer),
}

/// Looks at a body that is passed on before it was read to its end.
pub enum Watch {
    /// A signed upload to a Bitrix24 portal.
    Bitrix24(bitrix24::Watch),
}

impl Watch {
    /// Looks at the next bytes.
    ///
    /// # Errors
    /// The body says something that would have had to be judged.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Bitrix24(watch) => watch.feed(bytes),
        }
    }

    /// Looks at the end.
    ///
    /// # Errors
    /// The body is not whole.
    pub fn finish(&self) -> Result<(), Fault> {
        match self {
            Self::Bitrix24(watch) => watch.finish(),
        }
    }
}

impl Splicer {
    /// Takes the next piece of the answer; gives what goes on to the app, which may be nothing yet.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        match self {
            Self::Bitrix24(splicer) => splicer.feed(piece),
            Self::LiveChat(splicer) => {
                splicer.feed(&piece);
                Bytes::new()
            }
        }
    }

    /// True if an answer that cannot be put together must not reach the app: its parts would be taken for others.
    pub const fn is_needed(&self) -> bool {
        match self {
            // Its parts have keys.
            Self::Bitrix24(_) => false,
            // Its parts are told by their places.
            Self::LiveChat(_) => true,
        }
    }

    /// True once the answer has shown that it cannot be put together: it must break off.
    pub const fn has_failed(&self) -> bool {
        match self {
            Self::Bitrix24(_) => false,
            Self::LiveChat(splicer) => splicer.has_failed(),
        }
    }

    /// Ends the answer: what is still held.
    pub fn finish(&mut self) -> Bytes {
        match self {
            Self::Bitrix24(splicer) => splicer.finish(),
            Self::LiveChat(splicer) => splicer.finish(),
        }
    }
}
