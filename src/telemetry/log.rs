//! Log lines on standard error: one event, one line, whatever its values hold.
//!
//! The lines are written here and not by `tracing_subscriber::fmt`, whose lines carry line breaks and most control
//! characters of values as they are, so that a caller could forge lines or steer the reader's terminal.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{IsTerminal as _, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::escape::Escaped;
use crate::ambient::Clock;
use crate::config::LogFormat as Format;

/// The most bytes of a value that a line shows.
const VALUE: usize = 1_024;
/// The most bytes of a message.
const MESSAGE: usize = 4_096;

/// Opens the log, once; a second call changes nothing.
///
/// `levels` is a level, or a list of levels and `target=level`. A bare level is Keyfob's own: other crates, which know
/// nothing of what is secret here, say warnings at most, unless they are named.
pub fn init(levels: &str, format: Format) {
    let colour = format == Format::Pretty && std::io::stderr().is_terminal();
    let lines = Lines {
        format,
        colour,
        clock: Clock::system(),
        write: |line: &str| {
            // A log that cannot be written must not stop the program.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        },
    };
    if tracing_subscriber::registry().with(lines.with_filter(targets(levels))).try_init().is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            // A panic's text may be made of values that are secret; only one that stands in the program is shown.
            let what = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("see the place");
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(panic.place = place, "a task panicked and was ended: {what}");
        }));
    }
}

fn targets(levels: &str) -> Targets {
    use tracing_subscriber::filter::LevelFilter;
    let mut targets = Targets::new().with_target("keyfob", LevelFilter::INFO).with_default(LevelFilter::WARN);
    for item in levels.split(',').map(str::trim) {
        match item.split_once('=') {
            Some((target, level)) => {
                if let Ok(level) = level.parse::<LevelFilter>() {
                    targets = targets.with_target(target, level);
                }
            }
            None => {
                if let Ok(level) = item.parse::<LevelFilter>() {
                    targets = targets.with_target("keyfob", level).with_default(level.min(LevelFilter::WARN));
                }
            }
        }
    }
    targets
}

struct Lines<W> {
    format: Format,
    colour: bool,
    clock: Clock,
    write: W,
}

/// A span's fields, written once, when the span is made.
struct SpanFields(String);

/// Writes fields as ` key="value"` or `,"key":"value"`.
struct Fields<'o> {
    out: &'o mut String,
    message: &'o mut String,
    format: Format,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        let _ = match self.format {
            Format::Pretty => write!(self.out, " {}=", field.name()),
            Format::Json => write!(self.out, ",\"{}\":", field.name()),
        };
    }

    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        let _ = write!(self.out, "{value}");
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            let _ = Escaped::new(self.message, MESSAGE).write_fmt(value);
        } else {
            self.name(field);
            self.out.push('"');
            let _ = Escaped::new(self.out, VALUE).write_fmt(value);
            self.out.push('"');
        }
    }
}

impl Visit for Fields<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let (mut out, mut message) = (String::new(), String::new());
        attributes.record(&mut Fields { out: &mut out, message: &mut message, format: self.format });
        span.extensions_mut().insert(SpanFields(out));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(out)) = span.extensions_mut().get_mut() {
            record.record(&mut Fields { out, message: &mut String::new(), format: self.format });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        thread_local!(static BUFFERS: RefCell<[String; 3]> = RefCell::default());
        BUFFERS.with(|buffers| {
            // A value whose Debug logs would come back here: it gets no line rather than a panic.
            let Ok(mut buffers) = buffers.try_borrow_mut() else { return };
            let [line, fields, message] = &mut *buffers;
            line.clear();
            fields.clear();
            message.clear();
            event.record(&mut Fields { out: fields, message, format: self.format });
            if let Some(scope) = context.event_scope(event) {
                for span in scope {
                    if let Some(SpanFields(more)) = span.extensions().get() {
                        fields.push_str(more);
                    }
                }
            }
            self.line(line, event, message, fields);
            (self.write)(line);
        });
    }
}

impl<W> Lines<W> {
    fn line(&self, line: &mut String, event: &Event<'_>, message: &str, fields: &str) {
        let (at, level, target) = (self.clock.uncorrected(), *event.metadata().level(), event.metadata().target());
        let _ = match self.format {
            Format::Json => writeln!(
                line,
                "{{\"at\":\"{at}\",\"level\":\"{}\",\"target\":\"{target}\",\"message\":\"{message}\"{fields}}}",
                word(level)
            ),
            Format::Pretty if self.colour => {
                writeln!(
                    line,
                    "\x1b[2m{at}\x1b[0m {}{:5}\x1b[0m {message}\x1b[2m{fields}\x1b[0m",
                    paint(level),
                    word(level)
                )
            }
            Format::Pretty => writeln!(line, "{at} {:5} {message}{fields}", word(level)),
        };
    }
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

const fn paint(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[34m",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::domain::time::Timestamp;

    fn lines(format: Format, levels: &str, say: impl FnOnce()) -> String {
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        let clock = Clock::test(Timestamp::from_millis(0));
        let write = move |line: &str| heard.lock().unwrap().push_str(line);
        let layer = Lines { format, colour: false, clock, write }.with_filter(targets(levels));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let said = said.lock().unwrap();
        said.clone()
    }

    #[test]
    fn a_value_cannot_forge_a_line_in_either_format() {
        let evil = "x\n2026-01-01T00:00:00.000Z error forged\r\u{1b}[2J\0";
        let huge = "h".repeat(100_000);
        for format in [Format::Pretty, Format::Json] {
            let said = lines(format, "info", || {
                let span = tracing::info_span!("request", request.id = evil);
                let _in = span.enter();
                tracing::info!(path = evil, debug = ?evil, shown = %evil, huge, "message {evil}");
            });
            assert_eq!(said.matches('\n').count(), 1, "{said}");
            assert!(said.ends_with('\n') && !said.contains(['\r', '\u{1b}', '\0']));
            assert!(said.len() < 8_000, "{}", said.len());
        }
    }

    #[test]
    fn a_json_line_is_json_with_the_fields_of_its_spans() {
        let said = lines(Format::Json, "info", || {
            let span = tracing::info_span!("request", request.id = "r1", status = tracing::field::Empty);
            let _in = span.enter();
            span.record("status", 200_u64);
            tracing::warn!(duration.ms = 3_u64, ok = true, name = "a \"b\"", "It is done");
        });
        let line: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "at": "1970-01-01T00:00:00.000Z", "level": "warn", "target": "keyfob::telemetry::log::tests",
                "message": "It is done", "duration.ms": 3, "ok": true, "name": "a \"b\"", "request.id": "r1", "status": 200
            })
        );
    }

    #[test]
    fn a_bare_level_is_our_own_and_others_say_warnings() {
        let said = |levels| {
            lines(Format::Pretty, levels, || {
                tracing::debug!("ours");
                tracing::info!(target: "hyper::proto", "theirs");
                tracing::warn!(target: "hyper::proto", "their warning");
            })
        };
        let trace = said("trace");
        assert!(trace.contains(" ours") && !trace.contains(" theirs") && trace.contains("their warning"), "{trace}");
        assert!(said("info,hyper=info").contains(" theirs"));
        assert_eq!(said("off"), "");
    }
}
