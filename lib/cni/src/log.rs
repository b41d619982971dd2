//! The log, on standard error: runtimes keep it; standard output belongs to the protocol.
//!
//! What writes it is made when there is something to write. It keeps a registry of spans, which costs every
//! process ten page faults, and most have nothing to say.

use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::env::Env;

/// Begins to log, from the level on that `WEFT_LOG` says.
pub(crate) fn start(env: &Env) {
    let level = env.get("WEFT_LOG").and_then(|text| text.parse().ok());
    // A second one in a process leaves the first as it is.
    let _ = tracing::subscriber::set_global_default(Log {
        level: level.unwrap_or(Level::WARN),
        writer: OnceLock::new(),
    });
}

type Writer = Box<dyn Subscriber + Send + Sync>;

struct Log {
    level: Level,
    writer: OnceLock<Writer>,
}

impl Log {
    fn writer(&self) -> &Writer {
        self.writer.get_or_init(|| {
            let writer = tracing_subscriber::fmt()
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .with_max_level(self.level);
            Box::new(writer.finish())
        })
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.into())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.writer().new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.writer().record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.writer().record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        self.writer().event(event);
    }

    fn enter(&self, span: &Id) {
        self.writer().enter(span);
    }

    fn exit(&self, span: &Id) {
        self.writer().exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.writer().clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.writer().try_close(span)
    }
}
