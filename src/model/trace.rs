//! Trace context, by which calls are followed over programs (W3C Trace Context, section 3.2).

/// What an app's `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent<'h> {
    /// The trace, 32 hex digits.
    pub trace_id: &'h str,
    /// The app's span in it, 16 hex digits.
    pub span_id: &'h str,
}

impl<'h> TraceParent<'h> {
    /// Reads a field's value; `None` if it is not what the standard asks for. What versions after the first may add is
    /// passed over.
    pub fn parse(value: &'h [u8]) -> Option<Self> {
        let mut parts = str::from_utf8(value).ok()?.split('-');
        let mut hex = |digits: usize| {
            let lower = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
            parts
                .next()
                .filter(|part| part.len() == digits && part.bytes().all(lower))
        };
        let (version, trace_id, span_id, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let named = |id: &str| id.bytes().any(|b| b != b'0');
        let more = parts.next().is_some();
        (version != "ff" && !(version == "00" && more) && named(trace_id) && named(span_id))
            .then_some(Self { trace_id, span_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_standard_asks_for_and_nothing_else() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let read = TraceParent {
            trace_id: trace,
            span_id: span,
        };
        for good in [
            format!("00-{trace}-{span}-01"),
            format!("00-{trace}-{span}-00"),
            format!("cc-{trace}-{span}-01-what-comes"),
        ] {
            assert_eq!(TraceParent::parse(good.as_bytes()), Some(read), "{good}");
        }
        for bad in [
            String::new(),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-more"),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-1"),
            format!("0-{trace}-{span}-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{trace}x-{span}-01"),
            format!("00-{trace}-{span}-01\r\n"),
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
