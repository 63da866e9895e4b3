//! Everything that a simulation shares: the plan, the dice, the disk, the database, the running node, and what is known to
//! be true.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rollcall::clock::{Clock, simulated};
use rollcall_core::{Epoch, Timestamp};

use super::database::Database;
use super::dice::Dice;
use super::disk::Disk;
use super::executor::{Group, Spawner};
use super::node::Process;
use super::plan::Plan;
use super::trace::Trace;
use super::truth::Truth;

#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

pub struct Inner {
    pub plan: Plan,
    pub spawner: Spawner,
    pub disk: Arc<Mutex<Disk>>,
    dice: Mutex<Dice>,
    trace: Mutex<Trace>,
    truth: Mutex<Truth>,
    database: Mutex<Database>,
    process: Mutex<Option<Arc<Process>>>,
    phase: Mutex<Phase>,
    /// The next append of the journal is the last thing that the process does: before or after it is durable.
    append_crash: Mutex<Option<bool>>,
}

/// The three parts of a seed's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// People and faults do as they like.
    Chaos,
    /// No new faults; everything has to come right.
    Calm,
    /// The last orderly stop.
    End,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl std::ops::Deref for World {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl World {
    pub fn new(plan: Plan, dice: Dice, spawner: Spawner, trace: Trace) -> Self {
        let inner = Inner {
            plan,
            spawner,
            disk: Arc::default(),
            dice: Mutex::new(dice),
            trace: Mutex::new(trace),
            truth: Mutex::default(),
            database: Mutex::default(),
            process: Mutex::default(),
            phase: Mutex::new(Phase::Chaos),
            append_crash: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    /// The true time.
    pub fn now(&self) -> Timestamp {
        simulated::now()
    }

    pub fn clock(&self) -> Clock {
        Clock::simulated(0)
    }

    pub async fn sleep(&self, duration: Duration) {
        self.clock().sleep(duration).await;
    }

    pub fn dice(&self) -> MutexGuard<'_, Dice> {
        lock(&self.dice)
    }

    pub fn truth(&self) -> MutexGuard<'_, Truth> {
        lock(&self.truth)
    }

    pub fn database(&self) -> MutexGuard<'_, Database> {
        lock(&self.database)
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    pub fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }

    pub fn note(&self, what: &'static str, subject: u64, text: impl FnOnce() -> String) {
        self.trace().note(simulated::now(), what, subject, text);
    }

    /// See [`Trace::count`].
    pub fn count(&self, what: &'static str, subject: u64) {
        self.trace().count(simulated::now(), what, subject);
    }

    /// Something is not as promised.
    pub fn violate(&self, rule: &'static str, what: String) {
        self.note("VIOLATION", 0, || format!("{rule}: {what}"));
        self.truth().violations.push((rule, what));
    }

    pub fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    pub fn set_phase(&self, phase: Phase) {
        self.note("phase", phase as u64, || format!("{phase:?}"));
        *lock(&self.phase) = phase;
    }

    /// The process that runs, if one does.
    pub fn process(&self) -> Option<Arc<Process>> {
        lock(&self.process).clone()
    }

    pub fn set_process(&self, process: Option<Arc<Process>>) {
        let before = std::mem::replace(&mut *lock(&self.process), process);
        drop(before);
    }

    /// Whether the process of this boot can still do anything.
    pub fn is_alive(&self, boot: u64) -> bool {
        self.disk().boot == boot
    }

    /// Lets the process die in its next append, with the append or without.
    pub fn crash_in_append(&self, is_durable: bool) {
        *lock(&self.append_crash) = Some(is_durable);
    }

    pub fn disarm_append_crash(&self) {
        *lock(&self.append_crash) = None;
    }

    /// Whether this append is the last thing that the process does, and whether it succeeds.
    pub fn crashes_in_append(&self, boot: u64) -> Option<bool> {
        let armed = lock(&self.append_crash).take().filter(|_| self.is_alive(boot));
        if let Some(is_durable) = armed {
            self.note("crash.in_append", boot, || format!("durable: {is_durable}"));
            self.spawner.end_after(Group::Node(boot), 0);
        }
        armed
    }

    /// The journal forgets only what Postgres has.
    pub fn check_trim(&self, epoch: Epoch, through: i64) {
        let applied_seq = self.database().model.applied_seq(epoch).unwrap_or(0);
        let was_restored = self.truth().restores > 0;
        if applied_seq < through && !was_restored {
            self.violate("journal", format!("trimmed epoch {epoch} to {through}, Postgres has {applied_seq}"));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no task panics while it holds this")
}
