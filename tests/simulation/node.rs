//! The server's process: started, stopped and killed like one, and put together from the parts of the product in the order
//! of `src/app`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::registry::Registry;
use rollcall::admission::Admission;
use rollcall::clock::Clock;
use rollcall::config::{OriginPolicy, Ws};
use rollcall::control::{Call, ControlError, Live};
use rollcall::hub::{Hub, HubLimits, run_marks, run_timers};
use rollcall::ledger::{
    Flusher, FlusherOptions, JournalStorage, JournalWriter, Ledger, LedgerLimits, LedgerStore, RecoveryError,
    WriterStep, recover,
};
use rollcall::metrics::WsMetrics;
use rollcall::store::{EpochState, LiveStore, StoreError};
use rollcall::ws::{AddressLimits, Environment, Gate, HostCommand, SharedWs, Visit, WsOptions, WsState, converse};
use rollcall_core::{Epoch, SessionId, Timestamp};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::backend;
use super::database::SimulatedStore;
use super::desk;
use super::disk::SimulatedJournal;
use super::executor::Group;
use super::model::cleanup::CleanUp;
use super::wire::WireEnd;
use super::world::{Phase, World};

pub const NODE_NAME: &str = "node";

/// More than the last stop needs to bring everything, record by record.
const LAST_FLUSH_MAX: Duration = Duration::from_secs(60);

/// What `src/app/shutdown.rs` adds to the time for close confirmations.
const CONNECTIONS_END_SLACK: Duration = Duration::from_secs(2);

/// How long the clean-up leaves a session alone, and how long past its lease it waits for a node: an hour and a day in a
/// server, shorter here so that they fit into a seed. Longer than any grace, as there.
const CLEANUP_INACTIVITY: Duration = Duration::from_secs(100);
const CLEANUP_LOST_AFTER: Duration = Duration::from_secs(600);

/// How wrong the wall clock may become.
const CLOCK_ERROR_MAX_US: i64 = 3_600_000_000;

/// A running process.
pub struct Process {
    pub boot: u64,
    pub epoch: Epoch,
    pub clock: Clock,
    pub hub: Hub,
    pub ledger: Ledger,
    pub live: Live,
    pub store: SimulatedStore,
    pub ws: SharedWs<NodeEnvironment>,
    /// Keeps two changes of one session in order, as `Control::gate` does.
    pub gate: Mutex<()>,
    accepting: CancellationToken,
    fatal: CancellationToken,
    finish: CancellationToken,
    flushed: Arc<Notify>,
    writer: Arc<Notify>,
    connections: Arc<AtomicUsize>,
    refuses_since: std::sync::Mutex<Option<Timestamp>>,
    world: World,
}

/// What the sockets of a simulated process have round them.
pub struct NodeEnvironment {
    world: World,
    boot: u64,
}

impl Environment for NodeEnvironment {
    type Store = SimulatedStore;

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.world.spawner.spawn(Group::Node(self.boot), work);
    }

    fn spawn_apart(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(work);
    }

    async fn command(&self, _: Call, session: SessionId, command: HostCommand) -> Result<(), ControlError> {
        match self.world.process().filter(|process| process.boot == self.boot) {
            Some(process) => desk::command(&self.world, &process, session, command).await,
            None => Err(ControlError::Interrupted),
        }
    }
}

/// Starts the next process. Its start may fail or be killed; then the supervisor starts another.
pub fn launch(world: &World) {
    let boot = {
        let mut truth = world.truth();
        let boot = truth.boots.len() as u64 + 1;
        truth.boot(boot);
        boot
    };
    let clock_error_us = clock_error(world, boot);
    world.truth().boot(boot).clock_error_us = clock_error_us;
    world.disk().boot = boot;
    world.note("process.starts", boot, || format!("clock error {clock_error_us} us"));
    let task = world.clone();
    world.spawner.spawn(Group::Node(boot), async move {
        if let Err(error) = start(&task, boot, Clock::simulated(clock_error_us)).await {
            task.note("process.start_failed", boot, || error.clone());
            task.spawner.end_after(Group::Node(boot), 0);
        }
    });
}

/// The wall clock may have been set while no process ran. Inside one it never jumps.
fn clock_error(world: &World, boot: u64) -> i64 {
    let before = world.truth().boots.get(&(boot - 1)).map_or(0, |before| before.clock_error_us);
    if !world.plan.faults.clock_steps {
        return before;
    }
    let mut dice = world.dice();
    let steps_ms: [i64; 7] = [0, 0, 40, -40, 3_000, -3_000, 600_000];
    (before + *dice.pick(&steps_ms) * 1_000).clamp(-CLOCK_ERROR_MAX_US, CLOCK_ERROR_MAX_US)
}

/// The process is over, however that came; called before its tasks are dropped.
pub fn on_end(world: &World, boot: u64, power_loss: bool) {
    world.note(if power_loss { "process.power_loss" } else { "process.ended" }, boot, String::new);
    let now = world.now();
    world.disk().stop();
    world.set_process(None);
    let mut truth = world.truth();
    truth.boot(boot).ended_at = Some(now);
    if power_loss {
        // Nobody is there to say that the connections are over.
        truth.attempts.iter().filter(|attempt| attempt.boot == boot).for_each(|attempt| attempt.link.cut());
    }
    drop(truth);
    if world.phase() == Phase::End {
        return;
    }
    let pause = match world.phase() {
        Phase::Chaos => world.dice().mostly_short(Duration::from_secs(20)),
        _ => Duration::ZERO,
    };
    let supervisor = world.clone();
    world.spawner.spawn(Group::World, async move {
        supervisor.sleep(pause + Duration::from_millis(100)).await;
        launch(&supervisor);
    });
}

async fn start(world: &World, boot: u64, clock: Clock) -> Result<(), String> {
    let limits = world.plan.limits.clone();
    let store = SimulatedStore { world: world.clone(), boot };
    let mut journal = SimulatedJournal { world: world.clone(), disk: world.disk.clone(), boot };
    let report = match recover(&mut journal, &store, NODE_NAME, limits.mark_interval, limits.lease, clock.now()).await {
        Ok(report) => report,
        Err(error @ (RecoveryError::Gap { .. } | RecoveryError::Fenced { .. })) => {
            world.violate("recovery", error.to_string());
            return Err(error.to_string());
        }
        Err(error) => return Err(error.to_string()),
    };
    world.note("process.recovered", report.records_flushed as u64, || format!("{report:?}"));
    let text = |error: StoreError| error.to_string();
    let epoch = store.open_epoch(NODE_NAME, clock.now(), limits.lease).await.map_err(text)?;
    {
        let mut truth = world.truth();
        truth.boot_of.insert(epoch, boot);
        truth.boot(boot).epoch = Some(epoch);
    }
    let process = Arc::new(build(world, boot, clock, epoch, store.clone()));
    start_ledger(world, &process, journal)?;
    let after = store.latest_change().await.map_err(text)?;
    rollcall::feed::load(&process.hub, &store, report.attested_until).await.map_err(text)?;
    process.spawn(rollcall::feed::follow(process.hub.clone(), store, after, CancellationToken::new()));
    process.spawn(run_timers(process.hub.clone(), process.accepting.clone()));
    process.spawn(run_marks(process.hub.clone(), limits.mark_interval, process.accepting.clone()));
    process.spawn(clean_up(process.clone()));
    let failing = process.clone();
    process.spawn(async move {
        failing.fatal.cancelled().await;
        failing.world.note("process.fatal", failing.boot, String::new);
        failing.stop().await;
    });
    world.truth().boot(boot).started_at = Some(world.now());
    world.note("process.ready", boot, || format!("epoch {epoch}"));
    let mut database = world.database();
    database.snapshot = None;
    drop(database);
    world.set_process(Some(process));
    Ok(())
}

fn build(world: &World, boot: u64, clock: Clock, epoch: Epoch, store: SimulatedStore) -> Process {
    let plan = &world.plan;
    let limits = &plan.limits;
    let ledger = Ledger::new(
        epoch,
        LedgerLimits {
            journal_bytes_max: limits.journal_bytes_max,
            journal_refuse_percent: 80,
            // A restore needs the whole epoch.
            journal_tail_records: if plan.faults.restore > 0 { i64::MAX / 2 } else { limits.journal_tail_records },
        },
    );
    let hub_limits = HubLimits {
        sessions_live_max: limits.sessions_live_max,
        invites_live_max: limits.invites_live_max,
        outbox_bytes_max: limits.outbox_bytes_max,
    };
    let hub = Hub::new(clock, ledger.clone(), plan.policy.clone(), hub_limits);
    let root_key = Arc::new(backend::root_key());
    let no_limits =
        AddressLimits { connections_per_s: 0, connections_burst: 0, unauthenticated_max: 0, failed_joins_per_min: 0 };
    let ws = WsState {
        admission: Admission::new(hub.clone(), store.clone(), root_key, Vec::new()),
        options: ws_options(world),
        gate: Arc::new(Gate::new(64, 1_000, 10_000, no_limits)),
        metrics: WsMetrics::register(&mut Registry::default()),
        environment: NodeEnvironment { world: world.clone(), boot },
        hub: hub.clone(),
    };
    Process {
        boot,
        epoch,
        clock,
        live: Live::Hub(hub.clone()),
        hub,
        ledger,
        store,
        ws: Arc::new(ws),
        gate: Mutex::default(),
        accepting: CancellationToken::new(),
        fatal: CancellationToken::new(),
        finish: CancellationToken::new(),
        flushed: Arc::default(),
        writer: Arc::default(),
        connections: Arc::default(),
        refuses_since: std::sync::Mutex::default(),
        world: world.clone(),
    }
}

fn ws_options(world: &World) -> WsOptions {
    let limits = &world.plan.limits;
    WsOptions {
        origins: OriginPolicy::new(&Ws::default(), &"http://127.0.0.1".parse().expect("a URL")),
        is_trusted_proxy: Arc::new(|_| false),
        first_frame_timeout: limits.first_frame_timeout,
        frame_bytes_max: 16 * 1024,
        message_bytes_max: 16 * 1024,
        join_bytes_max: 8 * 1024,
        state_bytes_max: 2 * 1024,
        messages_per_s: 20,
        messages_burst: 60,
        ping_interval: limits.ping_interval,
        probe_after: limits.probe_after,
        dead_after: limits.dead_after,
        slow_consumer_timeout: limits.slow_consumer_timeout,
        close_confirm_timeout: limits.close_confirm_timeout,
        restart_spread: Duration::from_secs(1),
        ack_in_postgres: limits.ack_in_postgres,
    }
}

fn start_ledger(world: &World, process: &Arc<Process>, journal: SimulatedJournal) -> Result<(), String> {
    let limits = &world.plan.limits;
    let flusher = Flusher {
        ledger: process.ledger.clone(),
        reader: journal.reader().map_err(|error| error.to_string())?,
        store: process.store.clone(),
        clock: process.clock,
        node_name: NODE_NAME.to_owned(),
        options: FlusherOptions {
            flush_rows_max: limits.flush_rows_max,
            flush_interval: limits.flush_interval,
            lease: limits.lease,
            answer_timeout: Duration::from_secs(60),
        },
        fatal: process.fatal.clone(),
        finish: process.finish.clone(),
    };
    let flushed = process.flushed.clone();
    process.spawn(async move {
        flusher.run().await;
        flushed.notify_one();
    });
    let writer = JournalWriter::new(journal, process.ledger.clone(), process.fatal.clone());
    process.spawn(write_journal(process.clone(), writer));
    Ok(())
}

/// Stands for the journal's thread: each step takes the time of a sync.
async fn write_journal(process: Arc<Process>, mut writer: JournalWriter<SimulatedJournal>) {
    loop {
        let pause = process.world.dice().mostly_short(process.world.plan.limits.sync_max);
        process.world.sleep(pause).await;
        let stall = process.world.disk().stalled_until;
        process.clock.sleep(stall.since(process.world.now())).await;
        match writer.step() {
            WriterStep::Committed => {}
            WriterStep::Idle => process.writer.notified().await,
            WriterStep::Retry(pause) => process.world.sleep(pause).await,
            WriterStep::Over => return,
        }
    }
}

/// The backstop of the exact timers, as `src/app/upkeep.rs` runs it.
async fn clean_up(process: Arc<Process>) {
    let up_since = super::START;
    loop {
        process.clock.sleep(process.world.plan.limits.cleanup_interval).await;
        let world = process.world.clone();
        let ended = process.store.change("store.cleanup", move |model| {
            let request =
                CleanUp { inactivity: CLEANUP_INACTIVITY, sessions_max: 100, lost_after: CLEANUP_LOST_AFTER, up_since };
            model.clean_up(request, world.now())
        });
        if let Ok(ended) = ended.await
            && !ended.is_empty()
        {
            process.world.note("cleanup.ended", ended.len() as u64, String::new);
        }
    }
}

impl Process {
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.world.spawner.spawn(Group::Node(self.boot), work);
    }

    /// Called after every step of every task.
    pub fn wake_writer(&self) {
        if self.ledger.has_queued() {
            self.writer.notify_one();
        }
        self.look_at_backlog();
    }

    /// Keeps since when joins are to be refused.
    fn look_at_backlog(&self) {
        let mut refuses_since = self.refuses_since.lock().expect("plain data");
        if self.ledger.status().admitting {
            *refuses_since = None;
        } else {
            refuses_since.get_or_insert(self.world.now());
        }
    }

    /// Since when joins are to be refused without a break; `None` while they are not.
    pub fn refuses_since(&self) -> Option<Timestamp> {
        *self.refuses_since.lock().expect("plain data")
    }

    /// Takes a connection, or gives it back.
    pub fn accept(&self, wire: WireEnd) -> Result<(), WireEnd> {
        if self.accepting.is_cancelled() {
            return Err(wire);
        }
        let (ws, connections) = (self.ws.clone(), self.connections.clone());
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let visit = Visit { address, origin_allowed: true, upgraded_at: self.clock.now() };
        connections.fetch_add(1, Relaxed);
        self.spawn(async move {
            converse(ws, wire, visit).await;
            connections.fetch_sub(1, Relaxed);
        });
        Ok(())
    }

    /// The end in good order, step for step as in `src/app/shutdown.rs`.
    pub async fn stop(&self) {
        {
            let mut truth = self.world.truth();
            let boot = truth.boot(self.boot);
            if boot.stopping_at.is_some() {
                return;
            }
            boot.stopping_at = Some(self.world.now());
        }
        self.world.note("process.stops", self.boot, String::new);
        self.accepting.cancel();
        self.hub.drain();
        let patience = self.ws.options.close_confirm_timeout + CONNECTIONS_END_SLACK;
        let all_gone = async {
            while self.connections.load(Relaxed) > 0 {
                self.clock.sleep(Duration::from_millis(50)).await;
            }
        };
        self.clock.timeout(patience, all_gone).await.ok();
        self.hub.mark_evidence();
        self.ledger.close();
        self.writer.notify_one();
        self.finish.cancel();
        let limit = match self.world.phase() {
            // What one stop cannot bring the next start does. The last has no start after it.
            Phase::End => LAST_FLUSH_MAX,
            Phase::Chaos | Phase::Calm => self.world.plan.limits.flush_timeout,
        };
        self.clock.timeout(limit, self.flushed.notified()).await.ok();
        let status = self.ledger.status();
        let left = status.appended_seq - status.applied_seq;
        let open = self.hub.connections_open();
        let drained = self.store.close_epoch(self.epoch, EpochState::Drained, status.applied_seq);
        if left == 0 && open == 0 && drained.await.is_ok_and(|is_closed| is_closed) {
            self.world.truth().boot(self.boot).is_clean = true;
        }
        self.world.note("process.stopped", self.boot, || format!("{left} records left, {open} connections open"));
        self.world.spawner.end_after(Group::Node(self.boot), 0);
    }
}
