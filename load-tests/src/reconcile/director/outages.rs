//! The faults other than kills: what each does, for how long, and how it is made good again.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use super::super::faults::FaultKind;
use super::super::stage;
use super::super::truth::BootEndKind;
use super::Director;
use crate::clock::steady_us;
use crate::ground::Network;
use crate::server::PostgresEnd;

/// How far the wall clock is set off.
const CLOCK_STEP: Duration = Duration::from_secs(3600);

/// Pauses of the server: mostly longer than its lease, some longer than any client waits.
const PAUSES_MS: &[(u64, Range<u64>)] = &[(60, 5_000..12_000), (25, 15_000..25_000), (15, 30_000..60_000)];
const PAUSE_BRIEF_MS: Range<u64> = 3_500..6_000;

/// How many of a hundred packets are lost.
const LOSS_PERCENT: Range<u64> = 5..40;

impl Director<'_> {
    pub(super) async fn other(&mut self, kind: FaultKind) -> anyhow::Result<()> {
        match kind {
            FaultKind::Kill => Ok(()),
            FaultKind::Drain => self.drain().await,
            FaultKind::Pause => self.pause().await,
            FaultKind::PostgresPause => self.postgres_pause().await,
            FaultKind::PostgresStop => self.postgres_stop().await,
            FaultKind::PostgresKill => self.postgres_kill().await,
            FaultKind::PostgresDiskFull => self.postgres_disk_full().await,
            FaultKind::JournalDiskFull => self.journal_disk_full().await,
            FaultKind::ClockStep => self.clock_step().await,
            FaultKind::PacketLoss => self.packet_loss().await,
            FaultKind::HalfOpen => self.half_open().await,
        }
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        let at = steady_us();
        self.server.terminate().await?;
        self.ended(at, BootEndKind::Terminated);
        self.start().await
    }

    async fn pause(&mut self) -> anyhow::Result<()> {
        let range = if self.brief { PAUSE_BRIEF_MS } else { self.dice.weighted_range(PAUSES_MS) };
        let pause = self.dice.millis(range);
        self.server.pause()?;
        tokio::time::sleep(pause).await;
        self.server.resume()
    }

    async fn postgres_pause(&mut self) -> anyhow::Result<()> {
        self.server.freeze_postgres()?;
        tokio::time::sleep(self.dice.millis(200..4_000)).await;
        self.server.thaw_postgres()
    }

    async fn postgres_stop(&mut self) -> anyhow::Result<()> {
        let patience = self.dice.millis(100..1_500);
        self.server.postgres()?.end(PostgresEnd::Stop { patience }).await?;
        tokio::time::sleep(self.outage()).await;
        self.server.postgres()?.ensure_running().await
    }

    async fn postgres_kill(&mut self) -> anyhow::Result<()> {
        if self.dice.percent(40) {
            let mut dice = self.dice.split();
            self.server.postgres()?.kill_one_backend(|count| dice.index(count))?;
        } else {
            self.server.postgres()?.end(PostgresEnd::Kill).await?;
            tokio::time::sleep(self.outage()).await;
        }
        self.server.postgres()?.ensure_running().await
    }

    async fn postgres_disk_full(&mut self) -> anyhow::Result<()> {
        self.server.disks()?.database.fill()?;
        tokio::time::sleep(self.outage()).await;
        self.server.disks()?.database.free()?;
        // Where there is no room for its log, Postgres ends itself; somebody has to start it again.
        self.server.postgres()?.ensure_running().await
    }

    async fn journal_disk_full(&mut self) -> anyhow::Result<()> {
        self.server.disks()?.journal.fill()?;
        tokio::time::sleep(self.outage()).await;
        self.server.disks()?.journal.free()
    }

    async fn clock_step(&mut self) -> anyhow::Result<()> {
        let ahead = self.dice.percent(50);
        self.server.wall_clock()?.set(CLOCK_STEP, ahead)?;
        tokio::time::sleep(self.dice.millis(500..4_000)).await;
        self.server.wall_clock()?.set(Duration::ZERO, true)
    }

    async fn packet_loss(&mut self) -> anyhow::Result<()> {
        let (percent, outage) = (self.dice.number(LOSS_PERCENT), self.outage());
        self.network()?.lose(percent)?;
        tokio::time::sleep(outage).await;
        self.network()?.heal()
    }

    /// Cuts off some of the addresses that clients come from. Short ones are waited out, in long ones both sides give up.
    async fn half_open(&mut self) -> anyhow::Result<()> {
        let mut addresses: Vec<Ipv4Addr> = stage::sources().filter(|_| self.dice.percent(50)).collect();
        addresses.extend(stage::sources().next().filter(|_| addresses.is_empty()));
        let outage = self.outage();
        self.network()?.cut_off(&addresses)?;
        tokio::time::sleep(outage).await;
        self.network()?.heal()
    }

    fn network(&mut self) -> anyhow::Result<&Network> {
        Ok(match self.network.take() {
            Some(network) => self.network.insert(network),
            None => self.network.insert(Network::take()?),
        })
    }

    /// How long something is away.
    fn outage(&mut self) -> Duration {
        let range = if self.brief { 500..4_000 } else { 500..9_000 };
        self.dice.millis(range)
    }
}
