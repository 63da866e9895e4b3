//! Carries out the faults: each at a random instant, one after the other, kills in several ways.

mod outages;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use super::dice::Dice;
use super::faults::FaultKind;
use super::stage::Stage;
use super::truth::{Boot, BootEnd, BootEndKind, Incident};
use crate::clock::{self, steady_us};
use crate::ground::Network;
use crate::server::Server;

/// How often a start is tried again after a kill in the middle of one: the folder is let go with the process.
const START_TRIES: u32 = 5;

/// How often the director looks whether the server is still there.
const WATCH_PAUSE: Duration = Duration::from_millis(50);

/// How a kill meets the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Plain,
    /// Postgres hangs with its transactions under way, and goes on afterwards.
    WhileFrozen,
    /// The next start is killed as well, in the middle of its recovery.
    Twice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill(Kill),
    Other(FaultKind),
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    pub length: Duration,
    pub kinds: Vec<FaultKind>,
    pub kills: usize,
    /// How often each of the others.
    pub others: usize,
    /// Faults that last are kept short.
    pub brief: bool,
}

/// What was done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Deeds {
    /// How often each kind.
    pub counts: BTreeMap<FaultKind, usize>,
    pub kills: usize,
    pub kills_while_frozen: usize,
    pub kills_while_starting: usize,
    pub longest_start_ms: u64,
}

pub struct Director<'a> {
    server: &'a mut Server,
    stage: &'a Stage,
    dice: Dice,
    deeds: Deeds,
    /// Once the first fault needed it.
    network: Option<Network>,
    brief: bool,
}

impl<'a> Director<'a> {
    pub fn new(server: &'a mut Server, stage: &'a Stage) -> Self {
        let dice = Dice::for_actor(stage.seed, "director", 0);
        Self { server, stage, dice, deeds: Deeds::default(), network: None, brief: false }
    }

    /// Carries out what is planned at random instants; a fault whose instant has passed while another one lasted comes
    /// right after it. The server runs when this returns.
    ///
    /// # Errors
    /// The server ended by itself, or did not come back.
    pub async fn run(mut self, plan: &Plan, progress: impl Fn(&Deeds)) -> anyhow::Result<Deeds> {
        let started = clock::now();
        self.brief = plan.brief;
        let mut faults = self.draw(plan);
        let millis = plan.length.as_millis() as u64;
        let mut instants: Vec<_> = faults.iter().map(|_| self.dice.millis(millis / 20..millis)).collect();
        instants.sort_unstable();
        for at in instants {
            let fault = faults.swap_remove(self.dice.index(faults.len()));
            self.watch_until(started + at).await?;
            self.carry_out(fault).await?;
            progress(&self.deeds);
        }
        self.watch_until(started + plan.length).await?;
        Ok(self.deeds)
    }

    fn draw(&mut self, plan: &Plan) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut left = if plan.kinds.contains(&FaultKind::Kill) { plan.kills } else { 0 };
        while left > 0 {
            let choices = [(70, Kill::Plain), (15, Kill::WhileFrozen), (15, Kill::Twice)];
            let kill = self.dice.weighted(&choices).filter(|_| left > 1).unwrap_or(Kill::Plain);
            left -= if kill == Kill::Twice { 2 } else { 1 };
            faults.push(Fault::Kill(kill));
        }
        for kind in plan.kinds.iter().filter(|kind| **kind != FaultKind::Kill) {
            faults.extend(std::iter::repeat_n(Fault::Other(*kind), plan.others));
        }
        faults
    }

    /// A server that ends by itself is the worst of all faults.
    async fn watch_until(&mut self, at: Instant) -> anyhow::Result<()> {
        while clock::now() < at {
            if let Some(status) = self.server.ended()? {
                bail!("the server ended by itself with {status}\n{}", self.server.log());
            }
            tokio::time::sleep(WATCH_PAUSE.min(at - clock::now())).await;
        }
        Ok(())
    }

    async fn carry_out(&mut self, fault: Fault) -> anyhow::Result<()> {
        let at = steady_us();
        let kind = match fault {
            Fault::Kill(kill) => {
                self.kill_in_this_way(kill).await?;
                FaultKind::Kill
            }
            Fault::Other(kind) => {
                self.other(kind).await?;
                *self.deeds.counts.entry(kind).or_default() += 1;
                kind
            }
        };
        self.stage.witness.lock().incidents.push(Incident { kind, at, until: steady_us() });
        Ok(())
    }

    async fn kill_in_this_way(&mut self, kill: Kill) -> anyhow::Result<()> {
        match kill {
            Kill::Plain => self.kill().await?,
            Kill::WhileFrozen => {
                self.server.freeze_postgres()?;
                tokio::time::sleep(self.dice.millis(0..1_500)).await;
                self.kill().await?;
                self.deeds.kills_while_frozen += 1;
                self.server.thaw_postgres()?;
            }
            Kill::Twice => {
                self.kill().await?;
                self.kill_while_starting().await;
            }
        }
        self.start().await
    }

    async fn kill(&mut self) -> anyhow::Result<()> {
        let at = steady_us();
        self.server.kill9().await?;
        self.ended(at, BootEndKind::Killed);
        self.deeds.kills += 1;
        *self.deeds.counts.entry(FaultKind::Kill).or_default() += 1;
        Ok(())
    }

    /// Starts, and kills before the start can be complete, wherever it is by then.
    async fn kill_while_starting(&mut self) {
        let patience = self.dice.millis(20..900);
        self.begin();
        if let Ok(outcome) = tokio::time::timeout(patience, self.server.restart()).await {
            // It was faster: then it is simply up, or says at the next start why it is not.
            if outcome.is_ok() {
                let at = steady_us();
                if self.server.kill9().await.is_ok() {
                    self.ended(at, BootEndKind::Killed);
                }
            }
        } else {
            // The process died with the future that held it.
            self.ended(steady_us(), BootEndKind::Killed);
        }
        self.deeds.kills += 1;
        *self.deeds.counts.entry(FaultKind::Kill).or_default() += 1;
        self.deeds.kills_while_starting += 1;
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let started = clock::now();
        for attempt in 1.. {
            self.begin();
            match self.server.restart().await {
                Ok(()) => break,
                Err(error) if attempt >= START_TRIES => return Err(error),
                Err(_) => {
                    self.ended(steady_us(), BootEndKind::Killed);
                    tokio::time::sleep(WATCH_PAUSE).await;
                }
            }
        }
        let took = clock::micros_between(started, clock::now()) / 1_000;
        self.deeds.longest_start_ms = self.deeds.longest_start_ms.max(took);
        Ok(())
    }

    fn begin(&self) {
        self.stage.witness.lock().boots.push(Boot { started: steady_us(), end: None });
    }

    fn ended(&self, at: i64, kind: BootEndKind) {
        if let Some(boot) = self.stage.witness.lock().boots.last_mut() {
            boot.end = Some(BootEnd { at, gone_at: steady_us(), kind });
        }
    }
}
