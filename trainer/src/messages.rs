//! What goes to standard error besides progress: one line a message, in the words of the errors.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Shows warnings, or what `RUST_LOG` asks for, from now on.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let quiet = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !quiet)
        .event_format(Line)
        .init();
}

/// `warning: …`, with colour on a terminal alone; who traces the program sees its modules too.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (word, colour) = match *event.metadata().level() {
            Level::ERROR => ("error", 31),
            Level::WARN => ("warning", 33),
            Level::INFO => ("note", 36),
            Level::DEBUG => ("debug", 34),
            Level::TRACE => ("trace", 35),
        };
        if writer.has_ansi_escapes() {
            write!(writer, "\x1b[1;{colour}m{word}:\x1b[0m ")?;
        } else {
            write!(writer, "{word}: ")?;
        }
        if *event.metadata().level() >= Level::DEBUG {
            write!(writer, "{}: ", event.metadata().target())?;
        }
        // Names of files and classes are whatever somebody called them.
        let mut said = String::new();
        context.field_format().format_fields(Writer::new(&mut said), event)?;
        writeln!(writer, "{}", lrpet_report::visible(&said))
    }
}
