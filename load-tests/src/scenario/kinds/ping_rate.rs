//! Processor time of a ping. Both floors and the server hold the same number of connections at the same time and are
//! pinged in turns at the same rate, so that what the machine does besides meets all of them.

use crate::floor;
use crate::measure::{self, Latency};
use crate::report::{Distribution, Figure, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;
use crate::scenario::subject::Crowd;
use crate::swarm::{Figures, Pace, Swarm};

parameters! {
    /// What a ping costs the server in processor time, beside two floors, and how long its answer takes. Floor (a) is a bare
    /// echo server with the runtime and the library of Rollcall; floor (b) is one thread with epoll and nothing else.
    pub struct PingRate {
        /// Connections of the server, and as many of each floor.
        participants: usize = 16_000, in 1..=1_000_000;
        /// People in a room.
        room_size: usize = 10, in 1..=10_000;
        /// Joins a second while the crowd is built up.
        joins_per_s: f64 = 500.0, in 1..=100_000;
        /// Pings a second of all connections together.
        pings_per_s: f64 = 8_000.0, in 1..=1_000_000;
        /// Turns of the server; the floors have one more, before and after each.
        turns: usize = 3, in 1..=100;
        /// Seconds of a turn.
        turn_s: f64 = 8.0, in 1..=3_600;
    }
}

const RATIO: FigureKey = FigureKey::lower("cpu_ratio", "x", "processor time of a ping, ratio to floor (a)");
const EPOLL_RATIO: FigureKey = FigureKey::lower("cpu_epoll_ratio", "x", "processor time of a ping, ratio to floor (b)");
const CPU: FigureKey = FigureKey::lower("cpu_us", "µs", "processor time of a ping");
const UNANSWERED: FigureKey = FigureKey::lower("unanswered", "", "pings without an answer");
const LOST: FigureKey = FigureKey::lower("lost", "", "connections lost");
const P50: FigureKey = FigureKey::lower("p50_ms", "ms", "latency p50");
const P99: FigureKey = FigureKey::lower("p99_ms", "ms", "latency p99");
const STALL: FigureKey = FigureKey::lower("stall_ms", "ms", "longest wait of any connection");
const FLOOR_CPU: FigureKey = FigureKey::info("floor_cpu_us", "µs", "processor time of a ping at floor (a)");
const EPOLL_CPU: FigureKey = FigureKey::info("epoll_cpu_us", "µs", "processor time of a ping at floor (b)");
const FLOOR_P99: FigureKey = FigureKey::info("floor_p99_ms", "ms", "latency p99 at floor (a)");

/// A server that is pinged in turns with others.
struct Side {
    swarm: Swarm,
    pid: Option<u32>,
    turns: Vec<Turn>,
}

/// One turn of one side.
struct Turn {
    cpu_us_per_ping: Option<f64>,
    figures: Figures,
}

impl Workload for PingRate {
    const FIGURES: &'static [FigureKey] =
        &[RATIO, EPOLL_RATIO, CPU, UNANSWERED, LOST, P50, P99, STALL, FLOOR_CPU, EPOLL_CPU, FLOOR_P99];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let subject = stage.subject(&[]).await?;
        let (library, library_at) = floor::start(floor::Kind::Library).await?;
        let (epoll, epoll_at) = floor::start(floor::Kind::Epoll).await?;
        let crowd = Crowd {
            participants: self.participants,
            room_size: self.room_size,
            joins_per_s: self.joins_per_s,
            options: Default::default(),
            track_members: false,
        };
        let mut server = Side::new(subject.crowd(crowd).await?, subject.pid());
        let mut floors = [
            Side::new(stage.crowd_floor(library_at, self.participants).await?, Some(library.pid())),
            Side::new(stage.crowd_floor(epoll_at, self.participants).await?, Some(epoll.pid())),
        ];
        for turn in 1..=self.turns {
            stage.progress.step(format!("pings, turn {turn} of {}", self.turns));
            for side in floors.iter_mut().chain([&mut server]) {
                self.turn(side).await?;
            }
        }
        for side in &mut floors {
            self.turn(side).await?;
        }
        let lost = server.swarm.status().await?.lost;
        let server = server.stop().await?;
        let [by_library, by_epoll] = floors;
        let (by_library, by_epoll) = (by_library.stop().await?, by_epoll.stop().await?);
        library.stop().await?;
        epoll.stop().await?;
        subject.stop().await?;
        Ok(findings(&server, &by_library, &by_epoll, lost))
    }
}

impl PingRate {
    async fn turn(&self, side: &mut Side) -> anyhow::Result<()> {
        let cpu_us = |pid: Option<u32>| pid.map(measure::cpu_us).transpose();
        let before = cpu_us(side.pid)?;
        let figures = side.swarm.phase(Pace::Pings { per_s: self.pings_per_s }, self.turn_s).await?;
        let used = cpu_us(side.pid)?.zip(before).map(|(after, before)| after - before);
        side.turns.push(Turn { cpu_us_per_ping: used.map(|used| used as f64 / figures.answered as f64), figures });
        Ok(())
    }
}

impl Side {
    fn new(swarm: Swarm, pid: Option<u32>) -> Self {
        Self { swarm, pid, turns: Vec::new() }
    }

    async fn stop(self) -> anyhow::Result<Vec<Turn>> {
        self.swarm.stop().await?;
        Ok(self.turns)
    }
}

fn findings(server: &[Turn], library: &[Turn], epoll: &[Turn], lost: usize) -> Findings {
    let cpu = |turns: &[Turn]| turns.iter().filter_map(|turn| turn.cpu_us_per_ping).collect::<Vec<_>>();
    let latencies = |turns: &[Turn], of: fn(&Latency) -> u64| -> Vec<f64> {
        turns.iter().map(|turn| of(&turn.figures.latency) as f64 / 1000.0).collect()
    };
    let median = |key: &FigureKey, samples: Vec<f64>| key.is(measure::median(samples.clone())).samples(samples);
    let unanswered: u64 = server.iter().map(|turn| turn.figures.sent.saturating_sub(turn.figures.answered)).sum();
    let stall_us = server.iter().map(|turn| turn.figures.stall_us).max().unwrap_or(0);
    let void = server.iter().chain(library).chain(epoll).find_map(|turn| turn.figures.void());
    let mut figures: Vec<Figure> = Vec::new();
    let server_cpu = cpu(server);
    if !server_cpu.is_empty() {
        for (key, floor) in [(RATIO, library), (EPOLL_RATIO, epoll)] {
            let floor = measure::median(cpu(floor));
            let ratios = server_cpu.iter().map(|cpu| cpu / floor).collect();
            figures.push(median(&key, ratios).void_if(void.clone()));
        }
        figures.push(median(&CPU, server_cpu).void_if(void.clone()));
    }
    figures.extend([
        UNANSWERED.is(unanswered as f64),
        LOST.is(lost as f64),
        median(&P50, latencies(server, |latency| latency.p50_us)).void_if(void.clone()),
        median(&P99, latencies(server, |latency| latency.p99_us)).void_if(void.clone()),
        STALL.is(stall_us as f64 / 1000.0).void_if(void),
        median(&FLOOR_CPU, cpu(library)),
        median(&EPOLL_CPU, cpu(epoll)),
        median(&FLOOR_P99, latencies(library, |latency| latency.p99_us)),
    ]);
    let whole = |title, turns: &[Turn]| {
        Distribution::of(title, &Latency::merged(turns.iter().map(|turn| &turn.figures.latency)))
    };
    let distributions = vec![whole("Rollcall", server), whole("floor (a)", library), whole("floor (b)", epoll)];
    Findings { figures, distributions }
}
