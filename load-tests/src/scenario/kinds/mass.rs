//! Something happens to very many people at one instant. How soon the server has dealt with all of them, and for how
//! long those stand still to whom nothing happened.

use std::time::Duration;

use crate::clock;
use crate::control::SessionOptions;
use crate::measure::Recorder;
use crate::report::{Distribution, FigureKey};
use crate::scenario::canary::Pulse;
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::{parameters, words};
use crate::scenario::stage::Stage;
use crate::scenario::subject::{Crowd, Subject};
use crate::swarm::{How, Pace};

words! {
    pub enum Event {
        /// One session with everybody in it reaches its end.
        End = "end",
        /// Every connection is reset.
        Disconnect = "disconnect",
        /// Every client falls silent, and its socket stays open.
        Silence = "silence",
    }
}

parameters! {
    /// Something happens to very many people at one instant, and bystanders must not feel it.
    pub struct Mass {
        /// What happens: `end` (of the one session that all are in), `disconnect` (TCP reset) or `silence` (sockets stay open).
        how: Event = Event::Disconnect;
        /// People to whom it happens.
        participants: usize = 5_000, in 1..=1_000_000;
        /// People in a room; `end` has one room.
        room_size: usize = 10, in 1..=10_000;
        /// Joins a second while the crowd is built up.
        joins_per_s: f64 = 500.0, in 1..=100_000;
        /// Seconds that the session of `end` lasts; everybody must have joined within it.
        duration_s: usize = 30, in 1..=3_600;
        /// Seconds of silence after which the server must have ended a connection: its `ws.dead_after`.
        dead_after_s: f64 = 45.0, in 1..=3_600;
        /// Seconds after the event at which the wait for the server is given up.
        give_up_s: f64 = 90.0, in 1..=3_600;
    }
}

const DONE: FigureKey = FigureKey::lower("done_s", "s", "until the last of them was out, from when it was due");
const STALL: FigureKey = FigureKey::lower("stall_ms", "ms", "longest wait of bystanders");
const P99: FigureKey = FigureKey::lower("canary_p99_ms", "ms", "ping p99 of bystanders");
const LEFT: FigureKey = FigureKey::lower("left_over", "", "connections that the server still counted in the end");
const EARLY: FigureKey = FigureKey::lower("early", "", "people who were out before it was due");
const LOST: FigureKey = FigureKey::lower("bystanders_lost", "", "bystanders who were lost");

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Before a silence everybody pings once within this, so that all fall silent at about one instant.
const LAST_PINGS_S: f64 = 4.0;

/// What was seen of the event.
struct Seen {
    done_s: f64,
    left: f64,
    early: usize,
    distribution: Option<Distribution>,
}

impl Workload for Mass {
    const FIGURES: &'static [FigureKey] = &[DONE, STALL, P99, LEFT, EARLY, LOST];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let subject = stage.subject(&[]).await?;
        let canary = subject.canary().await?;
        let pulse = canary.pulse();
        let bystanders = subject.gauge("rollcall_connections").await?;
        let seen = match self.how {
            Event::End => self.end(stage, &subject, bystanders, &pulse).await?,
            Event::Disconnect => self.go(stage, &subject, bystanders, &pulse, How::Reset).await?,
            Event::Silence => self.go(stage, &subject, bystanders, &pulse, How::Silent).await?,
        };
        let canary = canary.stop().await;
        subject.stop().await?;
        let figures = vec![
            DONE.is(seen.done_s),
            STALL.is(canary.longest_ms),
            P99.is(canary.latency.p99_us as f64 / 1000.0),
            LEFT.is(seen.left),
            EARLY.is(seen.early as f64),
            LOST.is(canary.lost as f64).note(canary.errors.join("; ")),
        ];
        let mut distributions = vec![Distribution::of("ping of bystanders", &canary.latency)];
        distributions.extend(seen.distribution);
        Ok(Findings { figures, distributions })
    }
}

impl Mass {
    /// The end of one session: everybody in it is told at one instant.
    async fn end(&self, stage: &Stage, subject: &Subject<'_>, bystanders: f64, pulse: &Pulse) -> anyhow::Result<Seen> {
        let options = SessionOptions { max_duration_s: Some(self.duration_s as u64), ..SessionOptions::default() };
        let mut swarm = subject.crowd(self.crowd(self.participants, options)).await?;
        stage.progress.step_of("everybody waits for the end", self.participants);
        pulse.forget();
        let give_up_at = clock::now() + Duration::from_secs_f64(self.duration_s as f64 + self.give_up_s);
        let mut status = swarm.status().await?;
        while status.ended.len() + status.lost < self.participants && clock::now() < give_up_at {
            tokio::time::sleep(LOOK_INTERVAL).await;
            status = swarm.status().await?;
            stage.progress.count(status.ended.len());
        }
        let left = self.wait_until_out(subject, bystanders).await?;
        swarm.stop().await?;
        let late = Recorder::default();
        for ended in &status.ended {
            late.record(0, u64::try_from(ended.late_us).unwrap_or(0));
        }
        let late = late.take();
        let missing = self.participants - status.ended.len().min(self.participants);
        Ok(Seen {
            // Who was never told is not out.
            done_s: if missing == 0 { late.max_us as f64 / 1e6 } else { f64::NAN },
            left,
            early: status.ended.iter().filter(|ended| ended.late_us < 0).count(),
            distribution: Some(Distribution::of("end told late", &late)),
        })
    }

    /// Everybody is cut off, or falls silent.
    async fn go(
        &self,
        stage: &Stage,
        subject: &Subject<'_>,
        bystanders: f64,
        pulse: &Pulse,
        how: How,
    ) -> anyhow::Result<Seen> {
        let mut swarm = subject.crowd(self.crowd(self.room_size, SessionOptions::default())).await?;
        if how == How::Silent {
            stage.progress.step("everybody pings a last time");
            let per_s = self.participants as f64 / LAST_PINGS_S;
            swarm.phase(Pace::Pings { per_s }, LAST_PINGS_S).await?;
        }
        stage.progress.step(if how == How::Silent { "everybody falls silent" } else { "everybody is cut off" });
        pulse.forget();
        let began_at = clock::now();
        swarm.drop_connections(how, 1.0).await?;
        // A silent connection is due that long after its last evidence, which is at most this old.
        let due_s = if how == How::Silent { self.dead_after_s } else { 0.0 };
        let early_at = began_at + Duration::from_secs_f64((due_s - LAST_PINGS_S - 1.0).max(0.0));
        let mut early = 0;
        while how == How::Silent && clock::now() < early_at {
            let open = subject.gauge("rollcall_connections").await? - bystanders;
            early = early.max(self.participants - (open.max(0.0) as usize).min(self.participants));
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let left = self.wait_until_out(subject, bystanders).await?;
        let took_s = (clock::now() - began_at).as_secs_f64();
        swarm.stop().await?;
        let done_s = if left > 0.0 { f64::NAN } else { (took_s - due_s).max(0.0) };
        Ok(Seen { done_s, left, early, distribution: None })
    }

    /// Until the server counts nobody but the bystanders. Returns how many it counts besides.
    async fn wait_until_out(&self, subject: &Subject<'_>, bystanders: f64) -> anyhow::Result<f64> {
        let give_up_at = clock::now() + Duration::from_secs_f64(self.give_up_s);
        loop {
            let left = (subject.gauge("rollcall_connections").await? - bystanders).max(0.0);
            if left == 0.0 || clock::now() >= give_up_at {
                return Ok(left);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn crowd(&self, room_size: usize, options: SessionOptions) -> Crowd {
        let (participants, joins_per_s) = (self.participants, self.joins_per_s);
        Crowd { participants, room_size, joins_per_s, options, track_members: false }
    }
}
