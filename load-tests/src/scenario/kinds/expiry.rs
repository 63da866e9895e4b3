//! How late sessions end while very many timers are armed: the arrival of the `ended` frame minus the end that `joined`
//! announced, both on the clock of this machine.

use std::time::Duration;

use super::expiry_core::{self, CoreExpiry};
use crate::clock;
use crate::control::SessionOptions;
use crate::measure::Recorder;
use crate::report::{Distribution, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;
use crate::scenario::subject::{Crowd, all_in};
use crate::swarm::{Status, Swarm};

parameters! {
    /// Many sessions with a set end: how late those are told that are watched, and whether one ends early.
    pub struct Expiry {
        /// Sessions with an armed timer, the watched ones among them.
        sessions: usize = 100_000, in 1..=10_000_000;
        /// Sessions with one member each whose end is watched.
        watched: usize = 2_000, in 1..=100_000;
        /// How long the watched sessions live; they must be created and joined within it.
        watched_duration_s: usize = 40, in 1..=3_600;
        /// Joins a second.
        joins_per_s: f64 = 500.0, in 1..=100_000;
    }
}

const LATE: FigureKey = FigureKey::lower("late_max_ms", "ms", "end of a session told late, the latest");
const EARLY: FigureKey = FigureKey::lower("early", "", "sessions that ended early");
const MISSING: FigureKey = FigureKey::lower("missing", "", "ends that nobody was told");
const LATE_P50: FigureKey = FigureKey::lower("late_p50_ms", "ms", "told late p50");
const LATE_P99: FigureKey = FigureKey::lower("late_p99_ms", "ms", "told late p99");
const DEAD: FigureKey = FigureKey::lower("not_live", "", "sessions that were not live when all had joined");
const CORE_WRONG: FigureKey = FigureKey::lower("core_wrong", "", "core alone: ends early or inexact");
const CORE_US: FigureKey = FigureKey::lower("core_us", "µs", "core alone: time to end a session");

/// The other sessions outlive the run.
const OTHERS_DURATION_S: u64 = 86_400;

/// After the announced end: how long an `ended` frame may take before it counts as missing.
const END_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

impl Workload for Expiry {
    const FIGURES: &'static [FigureKey] = &[LATE, EARLY, MISSING, LATE_P50, LATE_P99, DEAD, CORE_WRONG, CORE_US];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        stage.progress.step(format!("{} sessions in the core alone", self.sessions));
        let sessions = self.sessions;
        let core = tokio::task::spawn_blocking(move || expiry_core::run(sessions)).await?;
        let limit = (self.sessions + self.watched) * 2;
        let environment = [("ROLLCALL_SESSIONS__SESSIONS_LIVE_MAX", limit.to_string())];
        let subject = stage.subject(&environment).await?;
        let others = self.sessions.saturating_sub(self.watched);
        stage.progress.step_of("sessions with a timer are created", others);
        let long = SessionOptions { max_duration_s: Some(OTHERS_DURATION_S), ..SessionOptions::default() };
        subject.api().create_sessions(others, long, |done| stage.progress.count(done)).await?;
        let watched =
            SessionOptions { max_duration_s: Some(self.watched_duration_s as u64), ..SessionOptions::default() };
        let tokens = subject.rooms(self.watched, watched).await?;
        let crowd = Crowd {
            participants: self.watched,
            room_size: 1,
            joins_per_s: self.joins_per_s,
            options: watched,
            track_members: false,
        };
        let mut swarm = Swarm::start(self.watched)?;
        all_in(subject.enter(&mut swarm, crowd, tokens).await?)?;
        let live = subject.gauge("rollcall_sessions_live").await?;
        stage.progress.step_of("people wait for the end of their session", self.watched);
        let status = self.wait_for_ends(stage, &mut swarm).await?;
        swarm.stop().await?;
        subject.stop().await?;
        Ok(self.findings(&status, live, &core))
    }
}

impl Expiry {
    async fn wait_for_ends(&self, stage: &Stage, swarm: &mut Swarm) -> anyhow::Result<Status> {
        let give_up_at = clock::now() + Duration::from_secs(self.watched_duration_s as u64) + END_TIMEOUT;
        loop {
            let status = swarm.status().await?;
            stage.progress.count(status.ended.len());
            if status.ended.len() + status.lost >= self.watched || clock::now() >= give_up_at {
                return Ok(status);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn findings(&self, status: &Status, live: f64, core: &CoreExpiry) -> Findings {
        let late = Recorder::default();
        for ended in &status.ended {
            late.record(0, u64::try_from(ended.late_us).unwrap_or(0));
        }
        let late = late.take();
        let early = status.ended.iter().filter(|ended| ended.late_us < 0).count();
        let missing = self.watched - status.ended.len().min(self.watched);
        let ms = |micros: u64| micros as f64 / 1000.0;
        let figures = vec![
            LATE.is(ms(late.max_us)).note(format!("{} ends watched, {live} sessions live", status.ended.len())),
            EARLY.is(early as f64),
            MISSING.is(missing as f64),
            LATE_P50.is(ms(late.p50_us)),
            LATE_P99.is(ms(late.p99_us)),
            DEAD.is((self.sessions as f64 - live).max(0.0)),
            CORE_WRONG.is((core.early + core.inexact) as f64),
            CORE_US.is(core.us_per_session),
        ];
        Findings { figures, distributions: vec![Distribution::of("end of a session told late", &late)] }
    }
}
