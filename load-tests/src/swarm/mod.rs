//! A swarm: thousands of clients in processes of their own, because one process may open no more files than its limit.
//! The harness drives each with one JSON line for each command and reads one line of JSON in answer; how many processes
//! there are is hidden here.
//!
//! Clients are numbered over all processes. Everything that is scheduled is a function of that number and of an instant
//! that all processes are told, so that the number of processes changes nothing of the load.

mod connection;
mod entry;
pub mod limits;
mod member;
mod merge;
mod messages;
mod plan;
mod received;
mod room;
mod survey;
#[cfg(test)]
pub mod tests;
mod worker;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use limits::raise as raise_limit;
#[allow(unused_imports)] // Fields of answers.
pub use messages::{
    Connect, Connected, Drop, Dropped, Ended, Figures, How, Pace, Received, Reconnect, Reconnected, Rooms, Schedule,
    Spread, Status,
};
pub use worker::run;

use crate::client::SOURCES;
use crate::clock;
use crate::process::Process;
use merge::Merge;
use messages::{Command, Done, Entrance};

/// Added to the expected duration of a command before the swarm counts as stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// Between a command and the first scheduled instant: all clients of all processes must have heard of it.
const NOTICE: Duration = Duration::from_millis(300);

/// The harness's end of all swarm processes.
#[derive(Debug)]
pub struct Swarm {
    processes: Vec<Process>,
    /// Clients that each process has.
    loads: Vec<usize>,
    per_process: usize,
    /// In which process the members of a room are, where they are followed.
    homes: HashMap<String, usize>,
}

impl Swarm {
    /// Starts as many processes as so many connections need.
    ///
    /// # Errors
    /// This machine cannot hold them, or a process cannot be started.
    pub fn start(connections: usize) -> anyhow::Result<Self> {
        let processes = limits::processes_for(connections, usize::from(SOURCES))?;
        Self::with_processes(processes, limits::per_process()?)
    }

    /// Clients fill one process after the other.
    ///
    /// # Errors
    /// A process cannot be started.
    pub fn with_processes(count: usize, per_process: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let start = || Process::start("the swarm", Path::new(&program), &["swarm"], &[], None);
        let processes = (0..count).map(|_| start()).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { loads: vec![0; processes.len()], processes, per_process, homes: HashMap::new() })
    }

    /// The processes of the swarm, to account for what the loader itself uses.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// Clients so far, in or not.
    pub fn clients(&self) -> usize {
        self.loads.iter().sum()
    }

    /// Adds clients. Their numbers go on from those that are there.
    ///
    /// # Errors
    /// A process is gone or stuck, or more clients come than the swarm was started for; clients that fail are in the
    /// answer.
    pub async fn connect(&mut self, connect: Connect) -> anyhow::Result<Connected> {
        let expected = Duration::from_secs_f64(connect.count as f64 / connect.per_s);
        let parts = self.share_out(&connect)?;
        let mut busy = Vec::new();
        for (process, entrance) in parts {
            self.loads[process] += entrance.count;
            self.processes[process].write(&Command::Connect(entrance)).await?;
            busy.push(process);
        }
        self.answers(&busy, expected).await
    }

    /// How clients behave from now on.
    ///
    /// # Errors
    /// A process is gone or stuck.
    pub async fn pace(&mut self, pace: Pace) -> anyhow::Result<()> {
        let command = self.pace_command(pace, None);
        let Done {} = self.ask(&command, Duration::ZERO).await?;
        Ok(())
    }

    /// The same for a time, then silence.
    ///
    /// # Errors
    /// A process is gone or stuck.
    pub async fn phase(&mut self, pace: Pace, seconds: f64) -> anyhow::Result<Figures> {
        let command = self.pace_command(pace, Some(seconds));
        self.ask(&command, Duration::from_secs_f64(seconds)).await
    }

    /// # Errors
    /// A process is gone or stuck.
    pub async fn drop_connections(&mut self, how: How, share: f64) -> anyhow::Result<Dropped> {
        self.ask(&Command::Drop(Drop { how, share }), Duration::ZERO).await
    }

    /// # Errors
    /// A process is gone or stuck; clients that do not come back are in the answer.
    pub async fn reconnect(&mut self, mut reconnect: Reconnect) -> anyhow::Result<Reconnected> {
        let schedule_s = match &mut reconnect.schedule {
            Schedule::Rate { per_s } => {
                let whole_s = self.clients() as f64 / *per_s;
                *per_s /= self.processes.len() as f64;
                whole_s
            }
            Schedule::Jitter { within_s } => *within_s,
        };
        let expected = Duration::from_secs_f64(schedule_s + reconnect.give_up_s);
        let command = Command::Reconnect { reconnect, start_us: soon() };
        self.ask(&command, expected).await
    }

    /// Waits until every list is right, at most `settle`, and says what lists and frames of presence were like since the
    /// last mark. What was seen is counted once: a second call starts from there.
    ///
    /// # Errors
    /// A process is gone or stuck.
    pub async fn rooms(&mut self, settle: Duration) -> anyhow::Result<Rooms> {
        self.ask(&Command::Rooms { settle_s: settle.as_secs_f64() }, settle).await
    }

    /// Counting starts here.
    ///
    /// # Errors
    /// A process is gone or stuck.
    pub async fn mark(&mut self) -> anyhow::Result<()> {
        let Done {} = self.ask(&Command::Mark, Duration::ZERO).await?;
        Ok(())
    }

    /// # Errors
    /// A process is gone or stuck.
    pub async fn since_mark(&mut self) -> anyhow::Result<Received> {
        self.ask(&Command::SinceMark, Duration::ZERO).await
    }

    /// # Errors
    /// A process is gone or stuck.
    pub async fn status(&mut self) -> anyhow::Result<Status> {
        self.ask(&Command::Status, Duration::ZERO).await
    }

    /// Drops all connections with the processes.
    ///
    /// # Errors
    /// One had to be killed.
    pub async fn stop(self) -> anyhow::Result<()> {
        for process in self.processes {
            process.stop().await?;
        }
        Ok(())
    }

    /// Cuts a crowd into parts of whole rooms, one for each process that has space.
    fn share_out(&mut self, connect: &Connect) -> anyhow::Result<Vec<(usize, Entrance)>> {
        let room_size = connect.room_size.max(1);
        let start_us = soon() + entry::CONNECT_LEAD.as_micros() as i64;
        let mut parts = Vec::new();
        let mut next = 0;
        let mut first = self.clients();
        for process in 0..self.processes.len() {
            let space = self.per_process.saturating_sub(self.loads[process]);
            let mut count = space.min(connect.count - next);
            if next + count < connect.count && count >= room_size {
                count -= count % room_size;
            }
            if count == 0 {
                continue;
            }
            // A part may begin inside a room that is larger than a process.
            let tokens: Vec<String> = if connect.tokens.is_empty() {
                Vec::new()
            } else {
                let rooms = next / room_size..=(next + count - 1) / room_size;
                rooms.map(|room| connect.tokens[room % connect.tokens.len()].clone()).collect()
            };
            if connect.track_members && connect.target.protocol.has_rooms() {
                self.claim(&tokens, process)?;
            }
            let entrance = Entrance {
                target: connect.target.clone(),
                first,
                position: next,
                count,
                per_s: connect.per_s,
                start_us,
                tokens,
                room_size,
                track_members: connect.track_members,
            };
            parts.push((process, entrance));
            next += count;
            first += count;
        }
        ensure!(
            next == connect.count,
            "the swarm has space for {next} more clients, not for {}: start it for more",
            connect.count
        );
        Ok(parts)
    }

    /// Lists can be compared within one process only.
    fn claim(&mut self, tokens: &[String], process: usize) -> anyhow::Result<()> {
        for token in tokens {
            let home = *self.homes.entry(token.clone()).or_insert(process);
            ensure!(
                home == process,
                "a room whose members are followed must fit into one client process ({} connections here)",
                self.per_process
            );
        }
        Ok(())
    }

    fn pace_command(&self, pace: Pace, seconds: Option<f64>) -> Command {
        Command::Pace { pace, connections: self.clients(), start_us: soon(), seconds }
    }

    async fn ask<T: Merge + DeserializeOwned>(
        &mut self,
        command: &impl Serialize,
        expected: Duration,
    ) -> anyhow::Result<T> {
        for process in &mut self.processes {
            process.write(command).await?;
        }
        let all: Vec<usize> = (0..self.processes.len()).collect();
        self.answers(&all, expected).await
    }

    async fn answers<T: Merge + DeserializeOwned>(&mut self, of: &[usize], expected: Duration) -> anyhow::Result<T> {
        let mut parts = Vec::with_capacity(of.len());
        for process in of {
            parts.push(self.processes[*process].read(expected + ANSWER_TIMEOUT).await?);
        }
        Ok(T::merge(parts))
    }
}

fn soon() -> i64 {
    clock::wall_us() + NOTICE.as_micros() as i64
}
