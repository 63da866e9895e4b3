//! What a bystander feels: pings of somebody who is in, before and while something is going on.

use std::time::{Duration, Instant};

use crate::support::Client;

const PINGS: usize = 60;

/// A wait that nobody notices, whatever it is a multiple of.
const UNNOTICED: Duration = Duration::from_millis(60);

/// How many times as long a ping may take. Tests share a machine with other tests; `rollcall-load run slow-loris` measures.
const RATIO_MAX: u32 = 8;

/// The waits for so many pongs, shortest first.
pub async fn waits(client: &mut Client) -> Vec<Duration> {
    let mut waits = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let started = Instant::now();
        client.ping(None).await;
        waits.push(started.elapsed());
        // Below the rate that one client may have.
        tokio::time::sleep(Duration::from_millis(55)).await;
    }
    waits.sort_unstable();
    waits
}

/// Nine of ten pings take about as long as before.
pub fn assert_undisturbed(before: &[Duration], during: &[Duration]) {
    let ninth = |waits: &[Duration]| waits[waits.len() * 9 / 10];
    let allowed = (ninth(before) * RATIO_MAX).max(UNNOTICED);
    assert!(ninth(during) <= allowed, "before {before:?}\nduring {during:?}");
}
