//! The chain: each record's hash covers the hash before it.

use std::fmt;

use aws_lc_rs::digest;

use super::EventKind;
use super::json::push_number;
use super::member::push_hex;

/// The schema of the records; also the domain tag of the chain.
pub const SCHEMA: &str = "grantgate.audit/1";

const DOMAIN: &[u8] = b"grantgate.audit/1\n";

/// The hash of a record: SHA-256 over the domain tag, the sequence number as 64 bits big endian, the previous hash, and
/// the record's bytes before `,"hash"`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// What stands before the first record.
    pub const ZERO: Self = Self([0; 32]);

    /// Stands for a hash that nothing is left of to check; no record has it.
    pub(super) const UNKNOWN: Self = Self([0xff; 32]);

    /// Reads 64 hex digits.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        let (pairs, []) = hex.as_chunks::<2>() else {
            return None;
        };
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hex = Vec::with_capacity(64);
        push_hex(&mut hex, &self.0);
        f.write_str(&String::from_utf8_lossy(&hex))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Where the chain stands: the last record's number and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// The last sequence number; 0 before the first record.
    pub seq: u64,
    /// The last hash.
    pub head: Digest,
}

impl Chain {
    /// Before the first record.
    pub const START: Self = Self {
        seq: 0,
        head: Digest::ZERO,
    };

    /// Appends a record's line: `rest` is the record's members after `seq`, each with a comma before it.
    pub fn append(&mut self, kind: EventKind, rest: &[u8], out: &mut Vec<u8>) {
        let seq = self.seq + 1;
        let start = out.len();
        out.extend_from_slice(b"{\"event_kind\":\"");
        out.extend_from_slice(kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"seq\":");
        push_number(out, seq);
        out.extend_from_slice(rest);
        self.head = hash(seq, self.head, out.get(start..).unwrap_or_default());
        self.seq = seq;
        out.extend_from_slice(HASH_MEMBER);
        push_hex(out, &self.head.0);
        out.extend_from_slice(b"\"}\n");
    }
}

/// What stands between a record's other members and its hash.
pub(super) const HASH_MEMBER: &[u8] = b",\"hash\":\"";

/// The hash of a record with this number whose line, up to `,"hash"`, is `line`.
pub(super) fn hash(seq: u64, previous: Digest, line: &[u8]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(DOMAIN);
    context.update(&seq.to_be_bytes());
    context.update(&previous.0);
    context.update(line);
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    Digest(bytes)
}
