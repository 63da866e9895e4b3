//! The threads that joined sockets live on.
//!
//! Each has a runtime of its own, so a ping wakes one thread and is over there: nothing is stolen, handed over or
//! synchronised. What may take long (handshakes, joins, HTTP, the control plane) stays on the main runtime.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio_util::sync::CancellationToken;

use super::standstill;
use crate::clock::Clock;

/// Most threads, however many cores there are: beyond it the kernel's network stack is what is busy.
const THREADS_MAX: usize = 64;

#[derive(Debug)]
pub struct SocketThreads {
    main: Handle,
    threads: Vec<Handle>,
    next: AtomicUsize,
}

impl SocketThreads {
    /// Starts one thread for each core. They end after `stop`; tasks that are left then are dropped. Call it on the main
    /// runtime.
    ///
    /// # Errors
    /// The system cannot start a thread or a runtime.
    pub fn start(clock: Clock, stop: &CancellationToken) -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            threads.push(runtime.handle().clone());
            let stop = stop.clone();
            std::thread::Builder::new().name(format!("sockets.{number}")).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = standstill::beat(clock) => {}
                    }
                });
            })?;
        }
        Ok(Self { main: Handle::current(), threads, next: AtomicUsize::new(0) })
    }

    /// While the guard lives, what is opened, armed or spawned belongs to the thread whose turn it is.
    pub(super) fn enter_next(&self) -> EnterGuard<'_> {
        self.threads[self.next.fetch_add(1, Relaxed) % self.threads.len()].enter()
    }

    /// The runtime for work that may take long.
    pub(super) fn main(&self) -> &Handle {
        &self.main
    }
}
