//! The faults: kills at random instants, restarts, a Postgres that hangs, and combinations of these.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use super::dice::Dice;
use super::stage::Stage;
use super::truth::{Boot, BootEnd, BootEndKind};
use crate::clock::{self, steady_us};
use crate::server::Server;

/// How often a start is tried again after a kill in the middle of one: the folder is let go with the process.
const START_TRIES: u32 = 5;

/// How often the director looks whether the server is still there.
const WATCH_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    /// The server is killed while Postgres hangs with its transactions under way; Postgres goes on afterwards.
    KillWhileFrozen,
    /// The next start is killed as well, in the middle of its recovery.
    KillTwice,
    Terminate,
    /// Postgres hangs for a while; the server goes on.
    Freeze,
}

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Deeds {
    pub kills: usize,
    pub kills_while_frozen: usize,
    pub kills_while_starting: usize,
    pub terminations: usize,
    pub freezes: usize,
    pub longest_start_ms: u64,
}

pub struct Director<'a> {
    server: &'a mut Server,
    stage: &'a Stage,
    dice: Dice,
    deeds: Deeds,
}

impl<'a> Director<'a> {
    pub fn new(server: &'a mut Server, stage: &'a Stage) -> Self {
        let dice = Dice::for_actor(stage.seed, "director", 0);
        Self { server, stage, dice, deeds: Deeds::default() }
    }

    /// Carries out so many kills, and other faults between them, at random instants of `length`. The server runs when
    /// this returns.
    ///
    /// # Errors
    /// The server ended by itself, or did not come back.
    pub async fn run(mut self, length: Duration, kills: usize, progress: impl Fn(&Deeds)) -> anyhow::Result<Deeds> {
        let started = clock::now();
        let mut plan = self.plan(kills);
        let millis = length.as_millis() as u64;
        let mut instants: Vec<_> = plan.iter().map(|_| self.dice.millis(millis / 20..millis)).collect();
        instants.sort_unstable();
        for at in instants {
            let fault = plan.swap_remove(self.dice.index(plan.len()));
            self.watch_until(started + at).await?;
            self.carry_out(fault).await?;
            progress(&self.deeds);
        }
        self.watch_until(started + length).await?;
        Ok(self.deeds)
    }

    fn plan(&mut self, kills: usize) -> Vec<Fault> {
        let mut plan = Vec::new();
        let mut left = kills;
        while left > 0 {
            let choices = [(70, Fault::Kill), (15, Fault::KillWhileFrozen), (15, Fault::KillTwice)];
            let fault = self.dice.weighted(&choices).filter(|_| left > 1).unwrap_or(Fault::Kill);
            left -= if fault == Fault::KillTwice { 2 } else { 1 };
            plan.push(fault);
        }
        plan.extend(std::iter::repeat_n(Fault::Terminate, kills / 4));
        plan.extend(std::iter::repeat_n(Fault::Freeze, kills / 4));
        plan
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
        match fault {
            Fault::Kill => self.kill().await?,
            Fault::KillWhileFrozen => {
                self.server.freeze_postgres()?;
                tokio::time::sleep(self.dice.millis(0..1_500)).await;
                self.kill().await?;
                self.deeds.kills_while_frozen += 1;
                self.server.thaw_postgres()?;
            }
            Fault::KillTwice => {
                self.kill().await?;
                self.kill_while_starting().await;
            }
            Fault::Terminate => {
                let at = steady_us();
                self.server.terminate().await?;
                self.ended(at, BootEndKind::Terminated);
                self.deeds.terminations += 1;
            }
            Fault::Freeze => {
                self.server.freeze_postgres()?;
                tokio::time::sleep(self.dice.millis(200..4_000)).await;
                self.server.thaw_postgres()?;
                self.deeds.freezes += 1;
                return Ok(());
            }
        }
        self.start().await
    }

    async fn kill(&mut self) -> anyhow::Result<()> {
        let at = steady_us();
        self.server.kill9().await?;
        self.ended(at, BootEndKind::Killed);
        self.deeds.kills += 1;
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
