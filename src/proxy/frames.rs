//! How much of what an HTTP/2 peer sends belongs to no call (RFC 9113 sections 4.1 and 6).

/// The connection's preface (section 3.4), which no frame holds.
const PREFACE: usize = 24;
/// The length of a frame's head.
const HEAD: usize = 9;

/// The kinds that carry calls.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Walks over frames, from the first byte of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to pass over before the next head.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
}

impl Frames {
    pub(super) const fn new() -> Self {
        Self {
            skip: PREFACE,
            head: [0; HEAD],
            have: 0,
        }
    }

    /// Walks over the next bytes; gives how many belong to frames that carry no call: settings, pings, priorities, resets,
    /// windows, and what nobody knows. A frame counts once its head is there.
    pub(super) fn chatter(&mut self, mut bytes: &[u8]) -> u64 {
        let mut chatter = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first().filter(|_| self.skip == 0) else {
                return chatter;
            };
            bytes = rest;
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *byte;
            }
            self.have += 1;
            if self.have == HEAD {
                self.have = 0;
                let [high, middle, low, kind, ..] = self.head;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                if !matches!(kind, DATA | HEADERS | CONTINUATION) {
                    let length = HEAD + self.skip;
                    chatter += u64::try_from(length).unwrap_or(u64::MAX);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn only_what_belongs_to_no_call_counts_however_it_is_cut() {
        let stream = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, &[0; 6]),
            frame(HEADERS, &[6; 50]),
            frame(CONTINUATION, &[6; 50]),
            frame(DATA, &[6; 20_000]),
            frame(6, &[0; 8]),
            frame(8, &[0; 4]),
            frame(0x42, &[0; 3]),
            frame(DATA, &[]),
            frame(2, &[0; 5]),
            frame(3, &[0; 4]),
        ]
        .concat();
        let wanted =
            u64::try_from((9 + 6) + (9 + 8) + (9 + 4) + (9 + 3) + (9 + 5) + (9 + 4)).unwrap();
        for step in [1, 2, 7, 9, 10, 4096, stream.len()] {
            let mut frames = Frames::new();
            let found: u64 = stream.chunks(step).map(|piece| frames.chatter(piece)).sum();
            assert_eq!(found, wanted, "in pieces of {step}");
        }
    }
}
