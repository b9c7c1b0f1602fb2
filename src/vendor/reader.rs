//! Readers: one for each dialect, behind one face.

use super::{Watch, bitrix24, livechat, ringcentral};
use crate::model::{Call, Fault};

/// Reads one request: made from its head, fed with its body, finished into a [`Call`].
#[derive(Debug)]
pub enum Reader<'r, 'c> {
    /// Reads as a Bitrix24 portal does.
    Bitrix24(bitrix24::Reader<'r, 'c>),
    /// Reads as RingCentral's platform does.
    RingCentral(ringcentral::Reader<'r, 'c>),
    /// Reads as LiveChat does.
    LiveChat(livechat::Reader<'r, 'c>),
}

impl Reader<'_, '_> {
    /// True if the verdict needs the body.
    pub fn wants_body(&self) -> bool {
        match self {
            Self::Bitrix24(reader) => reader.wants_body(),
            Self::RingCentral(reader) => reader.wants_body(),
            Self::LiveChat(reader) => reader.wants_body(),
        }
    }

    /// What looks at the body while it is passed on, for a call that is decided without it. The reader then wants no
    /// body.
    pub fn watch(&mut self) -> Option<Watch> {
        match self {
            Self::Bitrix24(reader) => reader.watch().map(Watch::Bitrix24),
            Self::RingCentral(_) | Self::LiveChat(_) => None,
        }
    }

    /// Reads the next bytes of the body. How the body is cut makes no difference.
    pub fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Bitrix24(reader) => reader.feed(bytes),
            Self::RingCentral(reader) => reader.feed(bytes),
            Self::LiveChat(reader) => reader.feed(bytes),
        }
    }

    /// Notes what was found wrong around the dialect's own reading: framing, the host, a body over the cap.
    pub fn note(&mut self, fault: Fault) {
        match self {
            Self::Bitrix24(reader) => reader.note(fault),
            Self::RingCentral(reader) => reader.note(fault),
            Self::LiveChat(reader) => reader.note(fault),
        }
    }
}

impl<'r, 'c> Reader<'r, 'c> {
    /// The call, after the whole body, or as much of it as is inspected, has been fed.
    pub fn finish(self) -> Call<'r, 'c> {
        match self {
            Self::Bitrix24(reader) => reader.finish(),
            Self::RingCentral(reader) => reader.finish(),
            Self::LiveChat(reader) => reader.finish(),
        }
    }
}
