//! A call as a span of a distributed trace, with the feature `otlp`; without it nothing at all.
//!
//! Spans have a target of their own, which the process log leaves out: they are made for a collector, and only if there is
//! one.

#[cfg(feature = "otlp")]
pub(super) use on::CallSpan;
#[cfg(feature = "otlp")]
pub use on::collect;

#[cfg(not(feature = "otlp"))]
pub(super) use off::CallSpan;

use http::HeaderMap;

use crate::audit::EventId;
use crate::model::Verdict;

/// What a span says of a call.
#[cfg_attr(
    not(feature = "otlp"),
    expect(dead_code, reason = "it is read with the feature only")
)]
pub(super) struct Facts<'c> {
    pub(super) event: EventId,
    pub(super) gate: &'c str,
    pub(super) vendor: &'static str,
    pub(super) operation: &'c str,
    pub(super) method: &'c str,
    pub(super) verdict: &'c Verdict<'c>,
    pub(super) headers: &'c HeaderMap,
}

#[cfg(feature = "otlp")]
mod on {
    use std::sync::atomic::{AtomicBool, Ordering};

    use http::{HeaderMap, HeaderName, HeaderValue};
    use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    use super::Facts;
    use crate::model::{Outcome, TraceParent};

    static COLLECTED: AtomicBool = AtomicBool::new(false);

    /// From now on calls have spans: somebody collects them.
    pub fn collect() {
        COLLECTED.store(true, Ordering::Relaxed);
    }

    #[derive(Debug, Default)]
    pub(in crate::proxy) struct CallSpan {
        span: Option<Span>,
        /// The app has sent a parent that can be read.
        has_parent: bool,
    }

    impl CallSpan {
        pub(in crate::proxy) fn begin(facts: &Facts<'_>) -> Self {
            if !COLLECTED.load(Ordering::Relaxed) {
                return Self::default();
            }
            let span = tracing::info_span!(
                target: "grantgate::span",
                "call",
                otel.name = facts.operation,
                otel.kind = "server",
                http.request.method = facts.method,
                http.response.status_code = tracing::field::Empty,
                grantgate.gate = facts.gate,
                grantgate.vendor = facts.vendor,
                grantgate.operation = facts.operation,
                grantgate.decision = facts.verdict.word().as_str(),
                grantgate.reason = facts.verdict.reason.as_str(),
                grantgate.decision_id = %facts.event,
                grantgate.outcome = tracing::field::Empty,
            );
            let parent = TraceContextPropagator::new().extract(&Fields(facts.headers));
            // It has no parent where the app sent none.
            let _ = span.set_parent(parent);
            let parent = facts.headers.get("traceparent");
            Self {
                span: Some(span),
                has_parent: parent
                    .is_some_and(|value| TraceParent::parse(value.as_bytes()).is_some()),
            }
        }

        /// Names the span to the vendor, in place of the app's.
        pub(in crate::proxy) fn goes_with(&self, headers: &mut HeaderMap) {
            if let Some(span) = &self.span {
                if !self.has_parent {
                    // It belongs to a trace that is not gone on with (section 3.3).
                    headers.remove("tracestate");
                }
                let context = span.context();
                TraceContextPropagator::new().inject_context(&context, &mut FieldsMut(headers));
            }
        }

        pub(in crate::proxy) fn end(&self, outcome: Outcome, status: Option<u16>) {
            if let Some(span) = &self.span {
                span.record("grantgate.outcome", outcome.as_str());
                if let Some(status) = status {
                    span.record("http.response.status_code", status);
                }
            }
        }
    }

    struct Fields<'h>(&'h HeaderMap);

    impl Extractor for Fields<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(HeaderName::as_str).collect()
        }
    }

    struct FieldsMut<'h>(&'h mut HeaderMap);

    impl Injector for FieldsMut<'_> {
        fn set(&mut self, key: &str, value: String) {
            let name = HeaderName::try_from(key).ok();
            let pair = name.zip(HeaderValue::try_from(value).ok());
            // What the app did not send and is empty is not added.
            if let Some((name, value)) = pair.filter(|(_, value)| !value.is_empty()) {
                self.0.insert(name, value);
            }
        }
    }
}

#[cfg(not(feature = "otlp"))]
mod off {
    use http::HeaderMap;

    use super::Facts;
    use crate::model::Outcome;

    #[derive(Debug, Default)]
    pub(in crate::proxy) struct CallSpan(());

    #[expect(
        clippy::unused_self,
        reason = "with the feature there is something in it"
    )]
    impl CallSpan {
        pub(in crate::proxy) const fn begin(_: &Facts<'_>) -> Self {
            Self(())
        }

        pub(in crate::proxy) const fn goes_with(&self, _: &mut HeaderMap) {}

        pub(in crate::proxy) const fn end(&self, _: Outcome, _: Option<u16>) {}
    }
}
