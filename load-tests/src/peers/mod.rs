//! `rollcall-load peers`: Rollcall beside its floors and beside other presence servers, with the same clients, the same
//! load and on the same machine, in turns.

mod node;
mod system;
mod table;
mod turn;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use self::node::Library;
use self::system::{Source, System};
use self::table::{Report, Row, Skipped};
use self::turn::{Load, Turn};
use crate::adapter::Target;
use crate::floor;
use crate::progress::Progress;
use crate::report::Machine;
use crate::server;

const FLOOR_LIBRARY: &str = "floor (a)";
const FLOOR_EPOLL: &str = "floor (b)";

#[derive(Debug, Args)]
pub struct Arguments {
    /// Another server that runs already, as [LABEL:]PROTOCOL=URL; protocols: echo, ws, socketio,
    /// pusher (ws://HOST:PORT/app/KEY?secret=SECRET), phoenix (ws://HOST:PORT/socket/websocket?topic=room:)
    #[arg(long = "peer", value_name = "PEER", value_parser = |text: &str| system::parse(text).map_err(|error| format!("{error:#}")))]
    peers: Vec<(String, Target)>,
    /// Process of such a server, for memory and processor time, as LABEL=PID
    #[arg(long = "peer-pid", value_name = "LABEL=PID", value_parser = parse_pid)]
    peer_pids: Vec<(String, u32)>,
    /// Leave a system out: rollcall, socketio, ws
    #[arg(long, value_name = "SYSTEM", value_delimiter = ',')]
    skip: Vec<String>,
    /// Connections of each system; the limit of open files must allow them
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    connections: u32,
    /// Pings a second of all connections together
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pings_per_s: u32,
    /// Seconds of each phase of pings
    #[arg(long, default_value_t = 8.0, value_parser = parse_seconds)]
    seconds: f64,
    /// People in the one room
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=19_000))]
    room: u32,
    /// Turns of each system; the floors have one more, at the end
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Write what was found as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The rollcall binary to measure [default: the one beside this one]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Where the servers on Node are [default: load-tests/peers of the repository]
    #[arg(long, value_name = "PATH")]
    peers_folder: Option<PathBuf>,
}

/// Returns whether everything was measured and nothing is void.
///
/// # Errors
/// Something that was asked for is not there; a system that cannot be measured is in the report.
pub async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    if cfg!(debug_assertions) {
        eprintln!("rollcall-load: this is a debug build; its figures say nothing about a release");
    }
    let load = Load {
        connections: arguments.connections as usize,
        pings_per_s: f64::from(arguments.pings_per_s),
        seconds: arguments.seconds,
        room: arguments.room as usize,
    };
    let machine = Machine::describe();
    let (systems, skipped) = choose(&arguments).await?;
    let measured = tokio::select! {
        measured = take_turns(&systems, load, arguments.turns as usize) => measured,
        // Processes die with their handles, which are dropped with the future.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    let mut report = Report { machine, load, systems: measured, skipped };
    report.relate(FLOOR_LIBRARY, FLOOR_EPOLL);
    eprint!("{}", report.table());
    if let Some(path) = arguments.json {
        let json = serde_json::to_string_pretty(&report)?;
        if path.as_os_str() == "-" {
            println!("{json}");
        } else {
            std::fs::write(&path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(report.passes())
}

/// The systems of this run in the order of their turns, and those that cannot be measured here.
async fn choose(arguments: &Arguments) -> anyhow::Result<(Vec<System>, Vec<Skipped>)> {
    let wants = |name: &str| !arguments.skip.iter().any(|skipped| skipped == name);
    for name in &arguments.skip {
        if !["rollcall", "socketio", "ws"].contains(&name.as_str()) {
            bail!("cannot skip {name:?}: rollcall, socketio and ws can be skipped");
        }
    }
    let system = |name: &str, source| System { name: name.to_owned(), source };
    let mut systems = floors();
    let mut skipped = Vec::new();
    if wants("rollcall") {
        systems
            .push(system("rollcall", Source::Rollcall { program: server::find_program(arguments.server.as_deref())? }));
    }
    let on_node = [("socketio", Library::SocketIo), ("ws", Library::Ws)].into_iter().filter(|(name, _)| wants(name));
    for (name, library) in on_node {
        let folder = node::folder(arguments.peers_folder.clone())?;
        match node::prepare(&folder).await {
            Ok(()) => systems.push(system(name, Source::Node { library, folder })),
            Err(error) => skipped.push(Skipped { name: name.to_owned(), reason: format!("{error:#}") }),
        }
    }
    for (label, _) in &arguments.peer_pids {
        if !arguments.peers.iter().any(|(name, _)| name == label) {
            bail!("--peer-pid {label}: there is no --peer of that name");
        }
    }
    for (name, target) in &arguments.peers {
        let pid = arguments.peer_pids.iter().find(|(label, _)| label == name).map(|(_, pid)| *pid);
        systems.push(system(name, Source::Running { target: target.clone(), pid }));
    }
    Ok((systems, skipped))
}

fn floors() -> Vec<System> {
    [(FLOOR_LIBRARY, floor::Kind::Library), (FLOOR_EPOLL, floor::Kind::Epoll)]
        .map(|(name, kind)| System { name: name.to_owned(), source: Source::Floor(kind) })
        .to_vec()
}

/// Every system in turn, again and again, and the floors once more at the end: what changes on the machine during the
/// run then shows in the spread of each instead of in the difference between two.
async fn take_turns(systems: &[System], load: Load, count: usize) -> Vec<Row> {
    let progress = Progress::new("peers");
    let mut turns = vec![Vec::new(); systems.len()];
    for number in 0..=count {
        for (system, turns) in systems.iter().zip(&mut turns) {
            if number == count && !matches!(system.source, Source::Floor(_)) {
                continue;
            }
            let step =
                |what: &str| progress.step(format!("turn {} of {}, {}: {what}", number + 1, count + 1, system.name));
            // One system that fails does not take the figures of the others along.
            let outcome = system.turn(load, number, &step).await;
            turns.push(outcome.unwrap_or_else(|error| Turn { void: Some(format!("{error:#}")), ..Turn::default() }));
        }
    }
    systems.iter().zip(turns).map(|(system, turns)| Row::new(system.name.clone(), turns)).collect()
}

fn parse_pid(text: &str) -> Result<(String, u32), String> {
    let (label, pid) = text.split_once('=').ok_or("a process is LABEL=PID")?;
    let pid = pid.parse().map_err(|_| format!("{pid:?} is not a process id"))?;
    Ok((label.to_owned(), pid))
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 3600".to_owned()),
    }
}
