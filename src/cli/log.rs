//! The process log, and with the feature `otlp` the way of spans to their collector.

use std::io::{self, IsTerminal as _};
use tracing_subscriber::filter::LevelFilter;
#[cfg(feature = "otlp")]
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

#[cfg(feature = "otlp")]
use crate::app::collector::{Collector, TARGET};
use crate::telemetry::log::{Remainder, stderr};

/// What is needed until the end of the log.
#[derive(Debug)]
pub(super) struct Log {
    #[cfg(feature = "otlp")]
    _collector: Option<Collector>,
    /// Writes what waits when it is dropped, last.
    _lines: Remainder,
}

impl Log {
    /// Begins the log on stderr; `RUST_LOG` chooses the level, `info` without it. A second beginning, as in tests, changes
    /// nothing.
    #[cfg(not(feature = "otlp"))]
    #[expect(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
    pub(super) fn begin(json: bool) -> anyhow::Result<Self> {
        let level = level();
        let (lines, guard) = lines(json, &level);
        let _ = tracing_subscriber::registry()
            .with(lines.with_filter(level))
            .try_init();
        Ok(Self { _lines: guard })
    }

    /// Begins the log on stderr, and collects spans where a collector is named.
    #[cfg(feature = "otlp")]
    pub(super) fn begin(json: bool) -> anyhow::Result<Self> {
        let collector = Collector::from_environment()?;
        let level = level();
        let (lines, guard) = lines(json, &level);
        let Some(tracer) = collector.as_ref().map(Collector::tracer) else {
            // Without spans nothing has to be told from them: what is off costs nothing.
            let _ = tracing_subscriber::registry()
                .with(lines.with_filter(level))
                .try_init();
            return Ok(Self {
                _lines: guard,
                _collector: None,
            });
        };
        let is_span = |of: &tracing::Metadata<'_>| of.target() == TARGET;
        let spans = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_filter(filter_fn(is_span).with_max_level_hint(LevelFilter::INFO));
        let others = filter_fn(move |of| !is_span(of)).with_max_level_hint(LevelFilter::TRACE);
        let lines = lines.with_filter(level.and(others));
        let _ = tracing_subscriber::registry()
            .with(lines)
            .with(spans)
            .try_init();
        Ok(Self {
            _lines: guard,
            _collector: collector,
        })
    }
}

fn level() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"))
}

fn lines(json: bool, level: &EnvFilter) -> (Box<dyn Layer<Registry> + Send + Sync>, Remainder) {
    // Whoever asks for more than the few lines of `info` wants to see every one, and waits for them.
    let complete = level.max_level_hint() > Some(LevelFilter::INFO);
    let (stderr, guard) = stderr(complete);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let lines = if json {
        lines.json().boxed()
    } else {
        lines.boxed()
    };
    (lines, guard)
}
