//! What every test stands on.

mod app;
mod client;
mod database;
mod own_cluster;
mod preload;
mod small_disk;

use std::future::Future;
use std::time::{Duration, Instant};

pub use app::{ROOT_KEY, TestApp};
pub use client::{Client, Refusal};
pub use database::Database;
pub use own_cluster::OwnCluster;
pub use preload::Preload;
pub use small_disk::SmallDisk;

/// Longest wait for a state. Generous: it only costs time when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `look` gives a value.
pub async fn eventually<T, F, Fut>(what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < give_up_at, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
