//! What a run is given on the command line, and what that means on this machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::director::Plan;
use super::faults::{self, BY_DEFAULT, FaultKind};
use crate::clock::steady_us;
use crate::server::{self, Postgres, Site};

/// What comes after the traffic, as a rule, for the estimate before a run.
const EARLY_ENDING: Duration = Duration::from_secs(15);
const COMPLETE_ENDING: Duration = Duration::from_secs(140);

#[derive(Debug, Args)]
pub struct Arguments {
    /// What chance is drawn from; printed at the end, so that a run can be played again
    #[arg(long)]
    seed: Option<u64>,
    /// How long people come and go and the server is killed
    #[arg(long, default_value_t = 4.0)]
    minutes: f64,
    /// How many people at the same time
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    participants: u32,
    /// What is done to the server and to what it stands on
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = BY_DEFAULT.to_vec())]
    faults: Vec<FaultKind>,
    /// Every fault there is
    #[arg(long, conflicts_with = "faults")]
    all_faults: bool,
    /// How often the server is killed
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    kills: u32,
    /// How often each of the other faults comes [default: a quarter as often as kills]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    others: Option<u32>,
    /// Keep faults that last short: a few seconds each
    #[arg(long)]
    brief: bool,
    /// Judge as soon as everything is in Postgres, without waiting until the bill calls itself complete
    #[arg(long)]
    early: bool,
    /// Where the server's log goes when something is wrong
    #[arg(long, value_name = "FILE")]
    keep_log: Option<PathBuf>,
    /// Write the figures as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The rollcall binary [default: the one beside this one]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

/// What a run is given.
#[derive(Debug, Clone)]
pub struct Options {
    pub server: PathBuf,
    pub seed: u64,
    pub length: Duration,
    pub participants: usize,
    pub faults: Vec<FaultKind>,
    pub kills: usize,
    /// How often each of the other faults.
    pub others: usize,
    /// Faults that last are kept short.
    pub brief: bool,
    pub early: bool,
    /// Where the server's log goes when something is wrong.
    pub log: Option<PathBuf>,
}

impl Arguments {
    /// Whether it needs a mount table and a network of its own, which are to be made while there is one thread.
    pub fn needs_isolation(&self) -> bool {
        self.wanted().iter().any(|kind| kind.needs_isolation())
    }

    fn wanted(&self) -> &[FaultKind] {
        if self.all_faults { FaultKind::value_variants() } else { &self.faults }
    }
}

impl Options {
    /// What the command line means on this machine: faults that cannot be made here are left out, aloud.
    ///
    /// # Errors
    /// There is no program beside this one, the length is none, or faults must be made that cannot.
    pub fn read(arguments: Arguments) -> anyhow::Result<Self> {
        let faults = faults::possible(arguments.wanted())?;
        let kills = arguments.kills as usize;
        Ok(Self {
            server: server::find_program(arguments.server.as_deref())?,
            seed: arguments.seed.unwrap_or_else(|| steady_us().unsigned_abs() % 1_000_000),
            length: Duration::try_from_secs_f64(arguments.minutes * 60.0).context("--minutes")?,
            participants: arguments.participants as usize,
            faults,
            kills,
            others: arguments.others.map_or(kills / 4, |others| others as usize),
            brief: arguments.brief,
            early: arguments.early,
            log: arguments.keep_log,
        })
    }

    pub fn plan(&self) -> Plan {
        let (kinds, kills, others) = (self.faults.clone(), self.kills, self.others);
        Plan { length: self.length, kinds, kills, others, brief: self.brief }
    }

    pub fn site(&self) -> Site {
        let any = |needs: fn(FaultKind) -> bool| self.faults.iter().any(|kind| needs(*kind));
        Site {
            postgres: Postgres::Apart,
            small_disks: any(FaultKind::needs_small_disks),
            wall_clock: any(|kind| kind == FaultKind::ClockStep),
        }
    }

    /// About how long the run takes to its verdict: faults that last push others back, and at the end the ledger is given
    /// time to call itself complete.
    pub fn estimate(&self) -> Duration {
        let count = |kind: &FaultKind| if *kind == FaultKind::Kill { self.kills } else { self.others };
        let faults: Duration = self
            .faults
            .iter()
            .map(|kind| kind.usual_length(self.brief) * u32::try_from(count(kind)).unwrap_or(0))
            .sum();
        let ending = if self.early { EARLY_ENDING } else { COMPLETE_ENDING };
        self.length.max(faults) + ending
    }
}
