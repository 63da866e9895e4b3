//! The end, in the order in which nothing acknowledged is lost: readiness says no → nobody new → everybody is told to
//! come back → the journal is flushed → Postgres stops last.

use std::time::Duration;

use tracing::{info, warn};

use super::App;
use crate::store::EpochState;

/// Time for the last frames beyond the wait for close confirmations.
const CONNECTIONS_END_SLACK: Duration = Duration::from_secs(2);

/// Ends everything. A cancelled `hard` token skips waiting for people, never the flush of what is durable.
pub(super) async fn end(app: App) {
    let hard = app.lifecycle.hard.clone();
    app.readiness.set_draining();
    let delay = app.config.shutdown.delay_ms.duration();
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = hard.cancelled() => {}
    }
    app.accepting.cancel();
    let open = app.hub.connections_open();
    info!(connections = open, "telling everybody to come back");
    app.hub.drain();
    app.connections.close();
    let patience = app.config.ws.close_confirm_timeout_ms.duration() + CONNECTIONS_END_SLACK;
    tokio::select! {
        () = app.connections.wait() => {}
        () = tokio::time::sleep(patience) => warn!("not every connection ended in time"),
        () = hard.cancelled() => {}
    }
    // When people were last active: what the connections that closed since the last mark leave behind.
    app.hub.mark_evidence();
    flush(&app).await;
    app.sockets_over.cancel();
    app.lifecycle.soft.cancel();
    tokio::select! {
        () = app.lifecycle.finished() => {}
        () = tokio::time::sleep(CONNECTIONS_END_SLACK) => warn!("not every part ended in time"),
    }
    // Once more, so that what came since the last one is covered while nobody runs.
    if let Err(error) = app.checkpointer.write(true).await {
        warn!(error = &error as &dyn std::error::Error, "the last checkpoint was not written; the next start does it");
    }
    app.store.close().await;
    if let Some(embedded) = app.embedded
        && let Err(error) = embedded.stop().await
    {
        warn!(error = &error as &dyn std::error::Error, "the embedded Postgres did not stop in good order");
    }
    info!("stopped");
}

/// Brings the journal to Postgres. What cannot be brought stays in the journal for the next start.
async fn flush(app: &App) {
    app.ledger.close();
    app.finish_flush.cancel();
    let limit = app.config.shutdown.flush_timeout_s.duration();
    tokio::select! {
        () = app.flushed.notified() => {}
        () = tokio::time::sleep(limit) => {}
        () = app.lifecycle.hard.cancelled() => {}
    }
    let status = app.ledger.status();
    let left = status.appended_seq - status.applied_seq;
    let open = app.hub.connections_open();
    if left > 0 || open > 0 {
        // Not closed cleanly: the next start takes the epoch up like one that crashed.
        warn!(records = left, connections = open, "the epoch stays open; the next start brings it to its end");
        return;
    }
    match app.store.close_epoch(app.ledger.epoch(), EpochState::Drained, status.applied_seq).await {
        Ok(true) => {}
        Ok(false) => warn!(
            "the epoch was closed by another process, or Postgres was set back; the next start brings what is missing"
        ),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "the epoch was not closed; the next start does it");
        }
    }
}
