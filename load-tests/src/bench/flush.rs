//! How fast a backlog reaches Postgres while people stay connected. Postgres is frozen (SIGSTOP), clients produce records,
//! Postgres goes on; the rate is what was applied between its return and the end of the backlog, from /metrics.

use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use super::Options;
use super::stage;
use crate::adapter::Target;
use crate::clock;
use crate::control::{Api, SessionOptions};
use crate::process::signal_process;
use crate::report::{Budget, Figure, Progress};
use crate::server::Server;
use crate::swarm::{Connect, Pace, Swarm};

const RECORDS_PER_S_BUDGET: f64 = 20_000.0;

/// People connected throughout, in rooms of two so that an update does not become many frames.
const PEOPLE: usize = 4_000;
const ROOM_SIZE: usize = 2;

/// People who join while Postgres is frozen.
const JOINERS: usize = 4_000;

const UPDATES_PER_S: f64 = 6_000.0;
const UPDATES_S: f64 = 30.0;

const PINGS_PER_S: f64 = 1_000.0;
const PINGS_S: f64 = 5.0;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(180);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The end of a drain is not measured: the last batches are small and wait for company.
const REST_SHARE: f64 = 0.05;

const NAME: &str = "flush";

/// Stops the processes of Postgres and lets them go on when it is dropped, whatever happens in between.
struct Freeze {
    pids: Vec<u32>,
}

impl Freeze {
    fn new(server: &Server) -> anyhow::Result<Self> {
        let pids = server.postgres_pids()?;
        for pid in &pids {
            signal_process(*pid, Signal::SIGSTOP)?;
        }
        Ok(Self { pids })
    }
}

impl Drop for Freeze {
    fn drop(&mut self) {
        for pid in &self.pids {
            if let Err(error) = signal_process(*pid, Signal::SIGCONT) {
                eprintln!("flush: {error:#}");
            }
        }
    }
}

/// What is left to flush, and what there was.
#[derive(Debug, Clone, Copy)]
struct Ledger {
    records: f64,
    backlog: f64,
}

pub async fn run(options: &Options, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    progress.step("starting the server");
    let server = Server::start(&options.server, &[]).await?;
    let api = server.api()?;
    let rooms = (PEOPLE + JOINERS) / ROOM_SIZE;
    let tokens = stage::rooms(&api, rooms, SessionOptions::default(), progress).await?;
    let (for_people, for_joiners) = tokens.split_at(PEOPLE / ROOM_SIZE);
    progress.step(format!("{PEOPLE} people join"));
    let mut people = Swarm::start(PEOPLE)?;
    enter(&mut people, &server, PEOPLE, for_people).await?;

    progress.step("Postgres is frozen: joins, updates and leaves go to the journal");
    let freeze = Freeze::new(&server)?;
    let before = ledger(&api).await?;
    let mut joiners = Swarm::start(PEOPLE)?;
    enter(&mut joiners, &server, JOINERS, for_joiners).await?;
    let updates = people.phase(Pace::Updates { per_s: UPDATES_PER_S }, UPDATES_S).await?;
    // Their connections end with their process.
    joiners.stop().await?;
    people.pace(Pace::Pings { per_s: PINGS_PER_S }).await?;

    let start = ledger(&api).await?;
    progress.step(format!("Postgres goes on: {} records wait", start.backlog));
    let thawed_at = clock::now();
    drop(freeze);
    // Everybody pings while the backlog drains.
    let (drained, pings) =
        tokio::join!(drain(&api, start, thawed_at), people.phase(Pace::Pings { per_s: PINGS_PER_S }, PINGS_S));
    let ((applied, took), pings) = (drained?, pings?);
    let status = people.status().await?;
    people.stop().await?;
    server.stop().await?;

    let produced = start.records - before.records;
    let mix = format!(
        "{applied:.0} records in {:.1} s; of {produced:.0} produced: {} state updates, {JOINERS} joins with their closes, evidence marks",
        took.as_secs_f64(),
        updates.sent
    );
    Ok(vec![
        Figure::info(NAME, "records applied", applied / took.as_secs_f64(), "/s")
            .against(Budget::AtLeast(RECORDS_PER_S_BUDGET))
            .note(mix),
        Figure::info(NAME, "connections lost", status.lost as f64, "")
            .against(Budget::AtMost(0.0))
            .note(status.errors.first().cloned().unwrap_or_default()),
        Figure::info(NAME, "backlog at its highest", start.backlog, "records"),
        Figure::info(NAME, "ping p99 while it drains", pings.latency.p99_us as f64 / 1000.0, "ms")
            .void_if(pings.void()),
    ])
}

async fn enter(swarm: &mut Swarm, server: &Server, count: usize, tokens: &[String]) -> anyhow::Result<()> {
    let connect = Connect {
        target: Target::rollcall(server.listen()),
        count,
        per_s: stage::RAMP_PER_S,
        tokens: tokens.to_vec(),
        room_size: ROOM_SIZE,
        track_members: false,
    };
    let connected = swarm.connect(connect).await?;
    if connected.failed > 0 {
        bail!("{} joins failed: {}", connected.failed, connected.errors.join("; "));
    }
    Ok(())
}

/// Waits until the backlog that stood at `start` is nearly applied. Returns how many records were, and in what time.
async fn drain(api: &Api, start: Ledger, thawed_at: tokio::time::Instant) -> anyhow::Result<(f64, Duration)> {
    let applied_at = |ledger: Ledger| ledger.records - ledger.backlog;
    loop {
        let now = ledger(api).await?;
        let took = clock::now() - thawed_at;
        if now.backlog <= start.backlog * REST_SHARE {
            return Ok((applied_at(now) - applied_at(start), took));
        }
        if took > DRAIN_TIMEOUT {
            bail!("{} of {} records still wait after {} s", now.backlog, start.backlog, took.as_secs());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn ledger(api: &Api) -> anyhow::Result<Ledger> {
    let metrics = api.metrics().await?;
    let figure = |name: &str| metrics.get(name).copied().with_context(|| format!("/metrics has no {name}"));
    Ok(Ledger { records: figure("rollcall_ledger_records")?, backlog: figure("rollcall_journal_backlog_records")? })
}
