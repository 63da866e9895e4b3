//! How fast somebody with an expired invite is told so: from the join frame to the error frame. The close code must
//! follow.

use std::time::Duration;

use anyhow::ensure;
use futures_util::SinkExt;
use rollcall_protocol::{CloseCode, ErrorCode};
use serde_json::Value;
use tokio::task::JoinSet;

use super::Options;
use super::stage;
use crate::adapter::Target;
use crate::client;
use crate::clock;
use crate::control::SessionOptions;
use crate::measure::Recorder;
use crate::report::{Budget, Figure, Progress};
use crate::server::Server;

const P99_BUDGET_MS: f64 = 5.0;
const INVITES: usize = 100;
const JOINS: usize = 1_000;
const INTERVAL: Duration = Duration::from_millis(20);

const NAME: &str = "expired";

pub async fn run(options: &Options, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    progress.step("starting the server");
    let server = Server::start(&options.server, &[]).await?;
    let short = SessionOptions { invite_expires_in_s: Some(1), ..SessionOptions::default() };
    let tokens = stage::rooms(&server.api()?, INVITES, short, progress).await?;
    // The last invite is good for this long.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    progress.step(format!("{JOINS} joins with expired invites"));
    let recorder = std::sync::Arc::new(Recorder::default());
    let mut attempts = JoinSet::new();
    let started_at = clock::now();
    for index in 0..JOINS {
        tokio::time::sleep_until(started_at + INTERVAL * index as u32).await;
        let (recorder, token, listen) = (recorder.clone(), tokens[index % INVITES].clone(), server.listen());
        attempts.spawn(async move { be_refused(listen, index, &token, &recorder).await });
    }
    let mut errors = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        if let Err(error) = attempt? {
            errors.push(format!("{error:#}"));
        }
    }
    server.stop().await?;
    let latency = recorder.take();
    let ms = |micros: u64| micros as f64 / 1000.0;
    Ok(vec![
        Figure::info(NAME, "refused p99", ms(latency.p99_us), "ms").against(Budget::AtMost(P99_BUDGET_MS)),
        Figure::info(NAME, "wrong answers", errors.len() as f64, "")
            .against(Budget::AtMost(0.0))
            .note(errors.first().cloned().unwrap_or_default()),
        Figure::info(NAME, "refused p50", ms(latency.p50_us), "ms"),
        Figure::info(NAME, "refused max", ms(latency.max_us), "ms"),
    ])
}

async fn be_refused(
    listen: std::net::SocketAddr,
    index: usize,
    token: &str,
    recorder: &Recorder,
) -> anyhow::Result<()> {
    let mut socket = client::connect(&Target::rollcall(listen), index).await?;
    let frame = client::join_frame(token, None)?;
    let sent_at = clock::now();
    socket.send(frame).await?;
    let text = client::next_text(&mut socket).await?;
    recorder.record(index, clock::micros_between(sent_at, clock::now()));
    let answer: Value = serde_json::from_str(&text)?;
    ensure!(answer["code"] == ErrorCode::InviteExpired.as_str(), "the answer was {answer}");
    let code = client::next_close(&mut socket).await?;
    ensure!(code == CloseCode::InviteExpired.number(), "the close code was {code}");
    Ok(())
}
