//! HTTP/2 by hand: frames as they are, also those that nobody should send.

use std::io::Write;
use std::sync::Arc;

use super::tls::{self, Stream};

/// A frame (RFC 9113 section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const WINDOW_UPDATE: u8 = 8;
pub const PING: u8 = 6;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A header block without tables (RFC 7541 section 6.2.2).
pub fn block(verb: &str, target: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", verb),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", target),
        ("authorization", "Bearer T"),
        ("content-type", "application/json"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A connection that has said that it speaks HTTP/2, and with which settings.
pub fn open(address: &str, app: &Arc<rustls::ClientConfig>, settings: &[u8]) -> Stream {
    let mut stream = tls::connect(address, app);
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).unwrap();
    stream
}
