//! Signals, tracked tasks, and the order in which everything ends.
//!
//! Two tokens: `soft` asks to finish in good order, `hard` is its parent and ends the waiting. A task that dies cancels
//! `soft`, so that a server never limps on with a part missing.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

#[derive(Debug, Clone)]
pub struct Lifecycle {
    /// Finish in good order.
    pub soft: CancellationToken,
    /// Do not wait any more.
    pub hard: CancellationToken,
    /// Something broke for good: the exit code must say so.
    pub failed: CancellationToken,
    /// The tasks that make up the server; connections have a tracker of their own.
    tasks: TaskTracker,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let hard = CancellationToken::new();
        Self { soft: hard.child_token(), hard, failed: CancellationToken::new(), tasks: TaskTracker::new() }
    }
}

impl Lifecycle {
    /// Starts a part of the server. Its end before `soft` is cancelled takes the whole server down.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let this = self.clone();
        self.tasks.spawn(async move {
            // A task of its own, so that a panic is seen here.
            let outcome = tokio::spawn(task).await;
            if !this.soft.is_cancelled() {
                match outcome {
                    Ok(()) => error!(task = name, "a part of the server ended; stopping"),
                    Err(error) => error!(task = name, %error, "a part of the server panicked; stopping"),
                }
                this.failed.cancel();
                this.soft.cancel();
            }
        });
    }

    /// Stops the server because of a failure elsewhere.
    pub fn fail(&self) {
        self.failed.cancel();
        self.soft.cancel();
    }

    /// Waits for all parts to end.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// First SIGTERM or Ctrl-C: finish in good order. Second: at once.
    ///
    /// # Errors
    /// The system does not let us listen for signals.
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let this = self.clone();
        // Ends with the process; there is nothing to wait for.
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                }
            };
            let name = next().await;
            info!(signal = name, "stopping; a second signal skips the waiting");
            this.soft.cancel();
            let name = next().await;
            warn!(signal = name, "stopping now");
            this.hard.cancel();
        });
        Ok(())
    }
}
