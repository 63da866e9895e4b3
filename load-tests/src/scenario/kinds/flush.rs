//! How fast a backlog reaches Postgres while people stay connected. Postgres is frozen (SIGSTOP), clients produce records,
//! Postgres goes on; the rate is what was applied between its return and the end of the backlog, from /metrics.

use std::time::Duration;

use anyhow::bail;

use crate::clock;
use crate::report::{Distribution, FigureKey};
use crate::scenario::canary::Canary;
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;
use crate::scenario::subject::{Crowd, Subject, all_in};
use crate::swarm::{Pace, Swarm};

parameters! {
    /// An outage of Postgres: records wait in the journal, then drain. How fast, and what those inside feel of it.
    pub struct Flush {
        /// People who are inside throughout.
        participants: usize = 4_000, in 1..=1_000_000;
        /// People who come and go while Postgres is away.
        joiners: usize = 4_000, in 0..=1_000_000;
        /// People in a room; small, so that an update does not become many frames.
        room_size: usize = 2, in 1..=10_000;
        /// Joins a second.
        joins_per_s: f64 = 500.0, in 1..=100_000;
        /// State updates a second while Postgres is away.
        updates_per_s: f64 = 6_000.0, in 1..=1_000_000;
        /// Seconds of updates.
        updates_s: f64 = 30.0, in 0..=3_600;
    }
}

const RATE: FigureKey = FigureKey::higher("records_per_s", "/s", "records applied, while the backlog drained");
const LOST: FigureKey = FigureKey::lower("lost", "", "connections lost");
const P99: FigureKey = FigureKey::lower("canary_p99_ms", "ms", "ping p99 while Postgres was away and came back");
const STALL: FigureKey = FigureKey::lower("stall_ms", "ms", "longest wait for a pong");
const BACKLOG: FigureKey = FigureKey::info("backlog", "records", "backlog at its highest");
const DRAINED: FigureKey = FigureKey::lower("drained_s", "s", "from the return of Postgres until the backlog was in");

const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The end of a drain is not measured: the last batches are small and wait for company.
const REST_SHARE: f64 = 0.05;

/// What is left to flush, and what there was.
#[derive(Debug, Clone, Copy)]
struct Ledger {
    records: f64,
    backlog: f64,
}

impl Workload for Flush {
    const FIGURES: &'static [FigureKey] = &[RATE, LOST, P99, STALL, BACKLOG, DRAINED];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let mut subject = stage.subject(&[]).await?;
        subject.own()?;
        let mut people = subject.crowd(self.crowd(self.participants)).await?;
        let tokens = subject.rooms(self.joiners.div_ceil(self.room_size), Default::default()).await?;
        let canary = subject.canary().await?;

        stage.progress.step("Postgres is frozen");
        subject.own()?.freeze_postgres()?;
        // Whatever happens, a frozen Postgres must go on before the server can end.
        let produced = self.produce(stage, &subject, &mut people, tokens).await;
        let start = ledger(&subject).await;
        stage.progress.step("Postgres goes on, and the backlog drains");
        let thawed_at = clock::now();
        subject.own()?.thaw_postgres()?;
        let ((before, updates), start) = (produced?, start?);
        let (applied, took) = drain(&subject, start, thawed_at).await?;
        let findings = self.findings(canary, &mut people, start, applied, took).await?;
        people.stop().await?;
        subject.stop().await?;
        let mut findings = findings;
        let produced = start.records - before.records;
        findings.figures[0].note = format!(
            "{applied:.0} in {:.1} s; of {produced:.0} produced: {updates} updates, {} joins with their closes, marks",
            took.as_secs_f64(),
            self.joiners
        );
        Ok(findings)
    }
}

impl Flush {
    fn crowd(&self, participants: usize) -> Crowd {
        let (room_size, joins_per_s) = (self.room_size, self.joins_per_s);
        Crowd { participants, room_size, joins_per_s, options: Default::default(), track_members: false }
    }

    /// Joins, updates and leaves that can only go to the journal. Returns the ledger before them, and the updates sent.
    async fn produce(
        &self,
        stage: &Stage,
        subject: &Subject<'_>,
        people: &mut Swarm,
        tokens: Vec<String>,
    ) -> anyhow::Result<(Ledger, u64)> {
        let before = ledger(subject).await?;
        if self.joiners > 0 {
            let mut joiners = Swarm::start(self.joiners)?;
            all_in(subject.enter(&mut joiners, self.crowd(self.joiners), tokens).await?)?;
            // Their connections end with their process.
            joiners.stop().await?;
        }
        stage.progress.step(format!("{} state updates a second", self.updates_per_s));
        let updates = people.phase(Pace::Updates { per_s: self.updates_per_s }, self.updates_s).await?;
        Ok((before, updates.sent))
    }

    async fn findings(
        &self,
        canary: Canary,
        people: &mut Swarm,
        start: Ledger,
        applied: f64,
        took: Duration,
    ) -> anyhow::Result<Findings> {
        let canary = canary.stop().await;
        let status = people.status().await?;
        let figures = vec![
            RATE.is(applied / took.as_secs_f64()),
            LOST.is((status.lost + canary.lost) as f64).note(status.errors.first().cloned().unwrap_or_default()),
            P99.is(canary.latency.p99_us as f64 / 1000.0),
            STALL.is(canary.longest_ms),
            BACKLOG.is(start.backlog),
            DRAINED.is(took.as_secs_f64()),
        ];
        Ok(Findings { figures, distributions: vec![Distribution::of("ping of those inside", &canary.latency)] })
    }
}

/// Waits until the backlog that stood at `start` is nearly applied. Returns how many records were, and in what time.
async fn drain(
    subject: &Subject<'_>,
    start: Ledger,
    thawed_at: tokio::time::Instant,
) -> anyhow::Result<(f64, Duration)> {
    let applied_at = |ledger: Ledger| ledger.records - ledger.backlog;
    loop {
        let now = ledger(subject).await?;
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

async fn ledger(subject: &Subject<'_>) -> anyhow::Result<Ledger> {
    let records = subject.gauge("rollcall_ledger_records").await?;
    Ok(Ledger { records, backlog: subject.gauge("rollcall_journal_backlog_records").await? })
}
