//! Processor time of a ping. The floor and the server hold the same number of connections at the same time and are
//! pinged in turns at the same rate, so that what the machine does besides meets both.

use super::Options;
use super::stage;
use crate::measure::{self, Latency};
use crate::report::{Budget, Figure, Progress};
use crate::server::Server;
use crate::swarm::{Figures, Pace, Swarm};

const RATIO_BUDGET: f64 = 1.5;

/// Pings a second of all connections together.
const PINGS_PER_S: f64 = 8_000.0;
const PHASE_S: f64 = 8.0;

/// Turns of the server; the floor has one more, before and after each.
const TURNS: usize = 3;

const NAME: &str = "ping";

/// One turn of one side.
struct Turn {
    cpu_us_per_ping: f64,
    figures: Figures,
}

pub async fn run(options: &Options, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    progress.step("starting the server");
    let server = Server::start(&options.server, &[]).await?;
    let (floor, listen) = crate::floor::start(crate::floor::Kind::Library).await?;
    let mut server_swarm = stage::crowd_server(&server, options.connections, progress).await?;
    let mut floor_swarm = stage::crowd_floor(listen, options.connections, progress).await?;
    let (mut floor_turns, mut server_turns) = (Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        progress.step(format!("pings, turn {turn} of {TURNS}"));
        floor_turns.push(take_turn(&mut floor_swarm, floor.pid()).await?);
        server_turns.push(take_turn(&mut server_swarm, server.pid()).await?);
    }
    floor_turns.push(take_turn(&mut floor_swarm, floor.pid()).await?);
    let status = server_swarm.status().await?;
    floor_swarm.stop().await?;
    server_swarm.stop().await?;
    floor.stop().await?;
    server.stop().await?;
    Ok(figures(&floor_turns, &server_turns, status.lost))
}

async fn take_turn(swarm: &mut Swarm, pid: u32) -> anyhow::Result<Turn> {
    let before = measure::cpu_us(pid)?;
    let figures = swarm.phase(Pace::Pings { per_s: PINGS_PER_S }, PHASE_S).await?;
    let used = measure::cpu_us(pid)? - before;
    Ok(Turn { cpu_us_per_ping: used as f64 / figures.answered as f64, figures })
}

fn figures(floor: &[Turn], server: &[Turn], lost: usize) -> Vec<Figure> {
    let cpu = |turns: &[Turn]| measure::median(turns.iter().map(|turn| turn.cpu_us_per_ping).collect());
    let spread = |turns: &[Turn]| {
        let values: Vec<_> = turns.iter().map(|turn| format!("{:.1}", turn.cpu_us_per_ping)).collect();
        values.join(" ")
    };
    let latency = |turns: &[Turn], of: fn(&Latency) -> u64| {
        measure::median(turns.iter().map(|turn| of(&turn.figures.latency) as f64 / 1000.0).collect())
    };
    let unanswered: u64 = server.iter().map(|turn| turn.figures.sent.saturating_sub(turn.figures.answered)).sum();
    let void = floor.iter().chain(server).find_map(|turn| turn.figures.void());
    let lost = (lost > 0 || unanswered > 0).then(|| format!("{lost} connections lost, {unanswered} pings unanswered"));
    vec![
        Figure::info(NAME, "processor time, ratio to floor", cpu(server) / cpu(floor), "x")
            .against(Budget::AtMost(RATIO_BUDGET))
            .note(format!("medians, {PINGS_PER_S} pings/s"))
            .void_if(lost)
            .void_if(void.clone()),
        Figure::info(NAME, "processor time of a ping", cpu(server), "µs").note(spread(server)),
        Figure::info(NAME, "processor time of a ping at the floor", cpu(floor), "µs").note(spread(floor)),
        Figure::info(NAME, "latency p50", latency(server, |l| l.p50_us), "ms").void_if(void.clone()),
        Figure::info(NAME, "latency p99", latency(server, |l| l.p99_us), "ms").void_if(void.clone()),
        Figure::info(NAME, "latency p99 at the floor", latency(floor, |l| l.p99_us), "ms").void_if(void),
    ]
}
