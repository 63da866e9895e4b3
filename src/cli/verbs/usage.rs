//! `usage export`.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::tenant::named;
use crate::cli::arguments::{Acknowledgement, FormatArgument, SliceArgument, UsageExportArguments, UsageVerb};
use crate::cli::database::with_control;
use crate::cli::output::{Exit, Failure, OutputFormat, instant};
use crate::config::Config;
use crate::control::{Control, date_time};
use crate::store::usage_export::{self as store, SinkRequest, SliceRequest};
use crate::store::{StoreError, usage};
use crate::usage_export::{Destination, Encoder, Format, UsageEvent};

/// Text that is collected before it is written.
const WRITE_BYTES: usize = 64 * 1024;

/// What an export told, for the line at its end.
#[derive(Debug, Default)]
struct Told {
    events: u64,
    first_position: Option<i64>,
    last_position: Option<i64>,
}

/// Events on their way out.
struct Out {
    encoder: Encoder,
    destination: Destination,
    text: String,
    told: Told,
}

pub async fn run(config: &Config, verb: UsageVerb, output: OutputFormat) -> Result<(), Failure> {
    let UsageVerb::Export(arguments) = verb;
    with_control(config, async |control| match &arguments.sink {
        Some(sink) => export_sink(control, sink, &arguments, output).await,
        None => export_period(control, &arguments, output).await,
    })
    .await
}

async fn export_period(
    control: &Control,
    arguments: &UsageExportArguments,
    output: OutputFormat,
) -> Result<(), Failure> {
    let Some(from) = arguments.from else {
        return Err(Failure::new(Exit::Usage, "--from is missing").hint("for example --from 2026-11-01"));
    };
    let complete = usage::complete_through(control.store()).await?;
    let to = match arguments.to {
        Some(to) if to > complete && !arguments.provisional => {
            let message = format!("the books are complete up to {} only", instant(complete));
            let hint = "export up to there, wait, or add --provisional and count what it marks as not final";
            return Err(Failure::new(Exit::Failed, message).hint(hint));
        }
        Some(to) => to,
        None if arguments.provisional => date_time(control.clock().now()),
        None => complete,
    };
    if from >= to {
        let message = format!("the period is empty: {} is not before {}", instant(from), instant(to));
        return Err(Failure::new(Exit::Usage, message));
    }
    let request = SliceRequest {
        tenant: named(control, arguments.tenant.as_deref()).await?,
        from,
        to,
        slice: slice(arguments),
        time_zone: time_zone(arguments),
    };
    let mut conn = store::connection(control.store()).await?;
    let mut out = Out::open(arguments)?;
    store::slices::<Problem>(&mut conn, &request, complete, |event| Ok(out.push(&event)?))
        .await
        .map_err(|Problem(failure)| failure)?;
    let told = out.finish()?;
    report(arguments, output, &told, &format!("usage from {} to {}", instant(from), instant(to)), None)
}

async fn export_sink(
    control: &Control,
    sink: &str,
    arguments: &UsageExportArguments,
    output: OutputFormat,
) -> Result<(), Failure> {
    let mut conn = store::connection(control.store()).await?;
    prepare_sink(control, &mut conn, sink, arguments).await?;
    let mut acknowledged = None;
    if let Some(Acknowledgement::Position(position)) = arguments.ack {
        acknowledged = Some(store::acknowledge(&mut conn, sink, position).await.map_err(refused)?);
    }
    store::correct(&mut conn, sink).await.map_err(refused)?;
    let filled_through = loop {
        let filled = store::fill(&mut conn, sink).await.map_err(refused)?;
        if filled.is_done {
            break filled.filled_through;
        }
    };
    let mut out = Out::open(arguments)?;
    store::unacknowledged::<Failure>(&mut conn, sink, arguments.limit, |event| out.push(&event)).await?;
    let told = out.finish()?;
    // Only now: whatever went wrong before, the next export tells the same events again.
    if let (Some(Acknowledgement::Written), Some(position)) = (arguments.ack, told.last_position) {
        acknowledged = Some(store::acknowledge(&mut conn, sink, position).await.map_err(refused)?);
    }
    let about = format!("usage up to {} for sink {sink}", instant(filled_through));
    report(arguments, output, &told, &about, acknowledged)
}

async fn prepare_sink(
    control: &Control,
    conn: &mut PgConnection,
    sink: &str,
    arguments: &UsageExportArguments,
) -> Result<(), Failure> {
    let exists = store::sink_exists(conn, sink).await?;
    let says_more = arguments.tenant.is_some() || arguments.tz.is_some() || arguments.slice.is_some();
    let starts_at: DateTime<Utc> = match arguments.from {
        Some(from) => from,
        None if exists && !says_more => return Ok(()),
        None if exists => {
            let message = format!("sink {sink} exists; --tenant, --tz and --slice are said once, with --from");
            return Err(Failure::new(Exit::Usage, message).hint("leave them out, or repeat the first export's"));
        }
        None => {
            let message = format!("there is no sink {sink} yet");
            return Err(Failure::new(Exit::Usage, message).hint("make it: add --from with the first day to export"));
        }
    };
    let tenant = named(control, arguments.tenant.as_deref()).await?;
    let (slice, time_zone) = (slice(arguments), time_zone(arguments));
    let request = SinkRequest { name: sink.to_owned(), tenant, starts_at, slice, time_zone };
    store::add_sink(conn, &request).await.map_err(refused)
}

impl Out {
    fn open(arguments: &UsageExportArguments) -> Result<Self, Failure> {
        let format = match arguments.format {
            FormatArgument::Csv => Format::Csv,
            FormatArgument::Jsonl => Format::Jsonl,
            FormatArgument::Cloudevents => Format::CloudEvents,
        };
        let encoder = Encoder::new(format, arguments.source.clone(), arguments.batch as usize);
        let destination = Destination::open(arguments.output.as_deref()).map_err(|error| {
            let name = arguments.output.as_deref().unwrap_or_else(|| "standard output".as_ref());
            Failure::new(Exit::Failed, format!("cannot write {}: {error}", name.display()))
        })?;
        let text = encoder.header().to_owned();
        Ok(Self { encoder, destination, text, told: Told::default() })
    }

    fn push(&mut self, event: &UsageEvent) -> Result<(), Failure> {
        self.encoder.push(event, &mut self.text);
        self.told.events += 1;
        self.told.first_position = self.told.first_position.or(event.position);
        self.told.last_position = event.position.or(self.told.last_position);
        if self.text.len() >= WRITE_BYTES {
            self.destination.write(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Told, Failure> {
        self.encoder.finish(&mut self.text);
        self.destination.write(&self.text)?;
        self.destination.finish()?;
        Ok(self.told)
    }
}

fn slice(arguments: &UsageExportArguments) -> &'static str {
    match arguments.slice {
        Some(SliceArgument::Hour) => "hour",
        Some(SliceArgument::Day) | None => "day",
    }
}

fn time_zone(arguments: &UsageExportArguments) -> String {
    arguments.tz.clone().unwrap_or_else(|| "UTC".to_owned())
}

/// A failure in which the database's sentence about an argument is kept.
struct Problem(Failure);

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self(refused(error))
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

/// What the database says about an argument is said to the person who gave it.
fn refused(error: StoreError) -> Failure {
    match usage::refused_argument(&error) {
        Some(sentence) => Failure::new(Exit::Usage, sentence),
        None => error.into(),
    }
}

/// The last line, on stderr: standard output may be the export itself.
fn report(
    arguments: &UsageExportArguments,
    output: OutputFormat,
    told: &Told,
    about: &str,
    acknowledged: Option<i64>,
) -> Result<(), Failure> {
    match output {
        OutputFormat::Json => eprintln!(
            "{}",
            json!({
                "events": told.events,
                "first_position": told.first_position,
                "last_position": told.last_position,
                "acknowledged": acknowledged,
                "output": arguments.output,
            })
        ),
        OutputFormat::Text => {
            eprintln!("{} event(s): {about}.", told.events);
            if let (Some(first), Some(last)) = (told.first_position, told.last_position) {
                match acknowledged {
                    Some(position) if position >= last => eprintln!("Positions {first} to {last}, acknowledged."),
                    _ => eprintln!("Positions {first} to {last}; say --ack {last} when the receiver has them."),
                }
            }
        }
    }
    Ok(())
}
