//! Slow lorises: connections that begin something and never finish it. A quarter says nothing, a quarter never ends the head
//! of its request, a quarter becomes a socket and never joins, and a quarter asks and never reads an answer.
//!
//! Each is held until the server lets go of it. Bystanders ping before the first comes and from when the last has come until
//! the last is let go, and the two are compared. What they feel while the lorises connect is that of any storm of connects,
//! and stated apart.
//!
//! Who attacks has a machine of its own, and here shares that of the server. So lorises do nothing that the server does not
//! feel: they ask in large pieces and keep little of what it does not take, and wait without looking. What their thread uses
//! all the same is stated, and when it could not let them come as planned the comparison is void.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::clock;
use crate::histogram::Latency;
use crate::measure;
use crate::report::{Distribution, FigureKey};
use crate::scenario::canary::Pulse;
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;
use crate::swarm::limits;

parameters! {
    /// Connections that are never done with what they began: how much longer the pings of bystanders take meanwhile, what each
    /// costs the server, and whether the server lets go of all of them.
    pub struct SlowLoris {
        /// Lorises.
        sockets: usize = 10_000, in 4..=1_000_000;
        /// Lorises that connect in a second.
        opens_per_s: f64 = 2_000.0, in 1..=100_000;
        /// Bystanders, each with 10 pings a second. Lorises are held for about 10 s: fewer give too few pings for a p99.
        bystanders: usize = 40, in 1..=1_000;
        /// Seconds for which bystanders ping before the first loris comes.
        before_s: f64 = 30.0, in 1..=3_600;
        /// Seconds after the last one has come within which all must be let go.
        let_go_s: f64 = 30.0, in 1..=3_600;
    }
}

const RATIO: FigureKey = FigureKey::lower("p99_ratio", "x", "ping p99 of bystanders, ratio to before");
const BEFORE: FigureKey = FigureKey::info("before_p99_ms", "ms", "ping p99 of bystanders before");
const ARRIVING: FigureKey =
    FigureKey::info("arriving_p99_ms", "ms", "ping p99 of bystanders while the lorises connect");
const DURING: FigureKey = FigureKey::lower("during_p99_ms", "ms", "ping p99 of bystanders while the lorises are held");
const STALL: FigureKey = FigureKey::lower("stall_ms", "ms", "longest wait of a bystander");
const LOST: FigureKey = FigureKey::lower("lost", "", "bystanders who lost their connection");
const MEMORY: FigureKey = FigureKey::lower("memory_kib", "KiB", "memory of the server for each loris, at its highest");
const HELD: FigureKey = FigureKey::lower("held", "", "lorises that were not let go in time");
const AT_ONCE: FigureKey = FigureKey::info("at_once", "", "lorises that were held at one time, at the most");
const LOADER: FigureKey =
    FigureKey::info("loader_cores", "cores", "processor time of the lorises themselves while held");
const SECONDS: FigureKey = FigureKey::lower("seconds", "s", "until the last was let go, from when the last had come");

/// Between two looks at the memory of the server.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Small, so that an answer that nobody reads is noticed after a few kilobytes.
const RECEIVE_BUFFER_BYTES: u32 = 8 * 1024;

/// What the server does not take costs nobody but us, so it is little.
const SEND_BUFFER_BYTES: u32 = 16 * 1024;

/// Questions in one write. A network would pack small writes into large packets as well; on one machine each is a packet, and
/// ten thousand questions one by one are a core for the loader and nothing for the server, which reads them all at once.
const QUESTIONS_PER_WRITE: usize = 400;

/// How much later than planned the last loris may come.
const LATE_MAX: Duration = Duration::from_secs(1);

const UPGRADE: &str = "GET /v1/ws HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: rollcall.v1\r\n\r\n";

/// What one loris does.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Silent,
    Head,
    NoJoin,
    Deaf,
}

impl Manner {
    const ALL: [Self; 4] = [Self::Silent, Self::Head, Self::NoJoin, Self::Deaf];
}

#[derive(Debug, Default)]
struct Tally {
    came: AtomicUsize,
    let_go: AtomicUsize,
    /// The time is over: whoever is still held gives up.
    over: AtomicBool,
}

/// What the lorises say of themselves.
#[derive(Debug)]
struct Attack {
    at_once: usize,
    /// How long it took until all had come.
    came_within: Duration,
    /// Processor time a second from then on.
    cores: f64,
}

/// What was seen while lorises came and went.
#[derive(Debug)]
struct Watched {
    /// From the last arrival to the last departure.
    seconds: f64,
    /// The highest memory of the server.
    highest: Option<u64>,
    /// Pings of bystanders until the last had come.
    arriving: Latency,
}

impl Workload for SlowLoris {
    const FIGURES: &'static [FigureKey] =
        &[RATIO, HELD, MEMORY, LOST, DURING, BEFORE, ARRIVING, STALL, SECONDS, AT_ONCE, LOADER];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        limits::raise()?;
        let subject = stage.subject(&[]).await?;
        let canary = subject.canary_of(self.bystanders).await?;
        stage.progress.step("bystanders ping alone");
        tokio::time::sleep(Duration::from_secs_f64(self.before_s)).await;
        let empty = subject.pid().map(measure::rss_anon_bytes).transpose()?;
        let before = canary.pulse().take();
        let tally = Arc::<Tally>::default();
        let thread = self.start(subject.target().address, tally.clone())?;
        let Watched { seconds, highest, arriving } = self.watch(stage, subject.pid(), &canary.pulse(), &tally).await?;
        let findings = canary.stop().await;
        tally.over.store(true, Relaxed);
        let attack = thread.join().map_err(|_| anyhow::anyhow!("the lorises panicked"))??;
        let held = self.sockets.saturating_sub(tally.let_go.load(Relaxed));
        subject.stop().await?;
        let during: Latency = findings.latency;
        let ms = |micros: u64| micros as f64 / 1000.0;
        let mut figures = vec![
            RATIO
                .is(during.p99_us as f64 / before.p99_us.max(1) as f64)
                .note(format!("{} pings before, {} during", before.count, during.count))
                .void_if(self.late(&attack)),
            HELD.is(held as f64),
            LOST.is(findings.lost as f64).note(findings.errors.join("; ")),
            DURING.is(ms(during.p99_us)),
            BEFORE.is(ms(before.p99_us)),
            ARRIVING.is(ms(arriving.p99_us)),
            STALL.is(findings.longest_ms),
            SECONDS.is(seconds),
            AT_ONCE.is(attack.at_once as f64),
            LOADER.is(attack.cores),
        ];
        if let (Some(empty), Some(highest)) = (empty, highest) {
            let each = highest.saturating_sub(empty) as f64 / self.sockets as f64 / 1024.0;
            figures.push(MEMORY.is(each).note(format!("{} lorises", self.sockets)));
        }
        let distributions = vec![
            Distribution::of("bystanders before", &before),
            Distribution::of("while they connect", &arriving),
            Distribution::of("while they are held", &during),
        ];
        Ok(Findings { figures, distributions })
    }
}

impl SlowLoris {
    /// Starts all lorises on a thread of their own: their work must not be in the way of the bystanders' clocks.
    fn start(&self, server: SocketAddr, tally: Arc<Tally>) -> anyhow::Result<JoinHandle<anyhow::Result<Attack>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sockets, interval) = (self.sockets, self.interval());
        let work = async move {
            let mut lorises = JoinSet::new();
            let mut at_once = 0;
            let first_at = clock::now();
            for number in 0..sockets {
                tokio::time::sleep_until(first_at + interval * number as u32).await;
                let stream = connect(server).await.context("a loris could not connect")?;
                let came = tally.came.fetch_add(1, Relaxed) + 1;
                at_once = at_once.max(came - tally.let_go.load(Relaxed));
                let (manner, tally) = (Manner::ALL[number % Manner::ALL.len()], tally.clone());
                lorises.spawn(async move {
                    hold(stream, manner).await;
                    tally.let_go.fetch_add(1, Relaxed);
                });
            }
            let (came_at, used_us) = (clock::now(), measure::thread_cpu_us()?);
            // Those that are still held when the time is over are dropped with the set.
            while !tally.over.load(Relaxed) && !lorises.is_empty() {
                tokio::time::timeout(LOOK_INTERVAL, lorises.join_next()).await.ok();
            }
            let held_us = clock::micros_between(came_at, clock::now()).max(1);
            let cores = measure::thread_cpu_us()?.saturating_sub(used_us) as f64 / held_us as f64;
            anyhow::Ok(Attack { at_once, came_within: came_at - first_at, cores })
        };
        Ok(std::thread::Builder::new().name("lorises".to_owned()).spawn(move || runtime.block_on(work))?)
    }

    /// Between two that connect.
    fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.opens_per_s)
    }

    /// Why the comparison says nothing: fewer were held at one time than the scenario says.
    fn late(&self, attack: &Attack) -> Option<String> {
        let planned = self.interval() * self.sockets as u32;
        (attack.came_within > planned + LATE_MAX).then(|| {
            format!(
                "all lorises came within {:.1} s, not {:.1}",
                attack.came_within.as_secs_f64(),
                planned.as_secs_f64()
            )
        })
    }

    /// Waits until every loris has come and gone.
    async fn watch(&self, stage: &Stage, pid: Option<u32>, pulse: &Pulse, tally: &Tally) -> anyhow::Result<Watched> {
        stage.progress.step_of("lorises come and are let go", self.sockets);
        let mut highest = None;
        let mut all_came_at = None;
        let mut arriving = Latency::default();
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            highest = highest.max(pid.map(measure::rss_anon_bytes).transpose()?);
            let let_go = tally.let_go.load(Relaxed);
            stage.progress.count(let_go);
            if all_came_at.is_none() && tally.came.load(Relaxed) == self.sockets {
                all_came_at = Some(clock::now());
                arriving = pulse.take();
            }
            let waited = all_came_at.map_or(0.0, |at| clock::micros_between(at, clock::now()) as f64 / 1e6);
            if let_go == self.sockets || waited > self.let_go_s {
                return Ok(Watched { seconds: waited, highest, arriving });
            }
        }
    }
}

async fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.connect(server).await
}

/// Ends when the server lets go.
async fn hold(mut stream: TcpStream, manner: Manner) {
    let begun = match manner {
        Manner::Silent => Ok(()),
        Manner::Head => stream.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: server\r\nX-Slow: ").await,
        Manner::NoJoin => stream.write_all(UPGRADE.as_bytes()).await,
        // Blocks once the server has stopped to read, and fails when it is gone.
        Manner::Deaf => loop {
            if let Err(error) = stream.write_all(questions()).await {
                break Err(error);
            }
        },
    };
    let mut rest = [0; 1024];
    while begun.is_ok() {
        match stream.read(&mut rest).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn questions() -> &'static [u8] {
    static QUESTIONS: LazyLock<Vec<u8>> =
        LazyLock::new(|| b"GET /docs HTTP/1.1\r\nHost: server\r\n\r\n".repeat(QUESTIONS_PER_WRITE));
    &QUESTIONS
}
