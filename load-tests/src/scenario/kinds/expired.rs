//! How fast somebody with an expired invite is told so: from the scheduled instant of the join frame to the error frame.
//! The close code must follow.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use futures_util::SinkExt;
use rollcall_protocol::{CloseCode, ErrorCode};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::adapter::Target;
use crate::client;
use crate::clock;
use crate::control::SessionOptions;
use crate::measure::Recorder;
use crate::report::{Distribution, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;

parameters! {
    /// How fast somebody with an expired invite is told so, with the right code and close code.
    pub struct Expired {
        /// Expired invites.
        invites: usize = 100, in 1..=100_000;
        /// Attempts to join with one of them.
        joins: usize = 1_000, in 1..=1_000_000;
        /// Attempts a second.
        joins_per_s: f64 = 50.0, in 1..=100_000;
    }
}

const P99: FigureKey = FigureKey::lower("refused_p99_ms", "ms", "refused p99");
const WRONG: FigureKey = FigureKey::lower("wrong", "", "wrong answers, or none");
const P50: FigureKey = FigureKey::lower("refused_p50_ms", "ms", "refused p50");
const MAX: FigureKey = FigureKey::lower("refused_max_ms", "ms", "refused, the slowest");

/// How long before its join a connection is opened, so that a refusal is measured and not a connect.
const CONNECT_LEAD: Duration = Duration::from_millis(500);

/// Life of the invites; the shortest that there is.
const EXPIRES_IN_S: u64 = 1;

impl Workload for Expired {
    const FIGURES: &'static [FigureKey] = &[P99, WRONG, P50, MAX];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let subject = stage.subject(&[]).await?;
        let short = SessionOptions { invite_expires_in_s: Some(EXPIRES_IN_S), ..SessionOptions::default() };
        let tokens = subject.rooms(self.invites, short).await?;
        stage.progress.step_of("joins with expired invites", self.joins);
        // The last invite is good for this long, and a little more.
        let first_at = clock::now() + Duration::from_secs(EXPIRES_IN_S) + CONNECT_LEAD;
        let recorder = Arc::new(Recorder::default());
        let mut attempts = JoinSet::new();
        for index in 0..self.joins {
            let at = first_at + Duration::from_secs_f64(index as f64 / self.joins_per_s);
            tokio::time::sleep_until(at - CONNECT_LEAD).await;
            stage.progress.count(index);
            let (recorder, token, target) = (recorder.clone(), tokens[index % tokens.len()].clone(), subject.target());
            attempts.spawn(async move { be_refused(&target, index, &token, at, &recorder).await });
        }
        let mut errors = Vec::new();
        while let Some(attempt) = attempts.join_next().await {
            errors.extend(attempt?.err().map(|error| format!("{error:#}")));
        }
        subject.stop().await?;
        let latency = recorder.take();
        let ms = |micros: u64| micros as f64 / 1000.0;
        let figures = vec![
            P99.is(ms(latency.p99_us)),
            WRONG.is(errors.len() as f64).note(errors.first().cloned().unwrap_or_default()),
            P50.is(ms(latency.p50_us)),
            MAX.is(ms(latency.max_us)),
        ];
        Ok(Findings { figures, distributions: vec![Distribution::of("refused", &latency)] })
    }
}

async fn be_refused(
    target: &Target,
    index: usize,
    token: &str,
    at: Instant,
    recorder: &Recorder,
) -> anyhow::Result<()> {
    let mut socket = client::connect(target, index).await?;
    let frame = client::join_frame(token, None)?;
    tokio::time::sleep_until(at).await;
    socket.send(frame).await?;
    let text = client::next_text(&mut socket).await?;
    recorder.record(index, clock::micros_between(at, clock::now()));
    let answer: Value = serde_json::from_str(&text)?;
    ensure!(answer["code"] == ErrorCode::InviteExpired.as_str(), "the answer was {answer}");
    let code = client::next_close(&mut socket).await?;
    ensure!(code == CloseCode::InviteExpired.number(), "the close code was {code}");
    Ok(())
}
