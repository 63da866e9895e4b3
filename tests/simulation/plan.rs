//! What one seed is about: how many people, which limits, and which faults how often. Each seed draws its own set, so that
//! some have one fault and nothing else, some have all, and some none.

use std::time::Duration;

use rollcall_core::PresencePolicy;

use super::dice::Dice;

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// How long people and faults do as they like. Then everything heals.
    pub chaos: Duration,
    pub people: u64,
    pub sessions: u64,
    pub invites_per_session: u64,
    pub policy: PresencePolicy,
    pub limits: Limits,
    pub faults: Faults,
    pub habits: Habits,
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub idle_timeout: Duration,
    pub max_duration: Option<Duration>,
    pub participants_max: Option<u32>,
    pub warn_before: Vec<Duration>,
    pub ping_interval: Duration,
    pub probe_after: Duration,
    pub dead_after: Duration,
    pub slow_consumer_timeout: Duration,
    pub close_confirm_timeout: Duration,
    pub first_frame_timeout: Duration,
    pub outbox_bytes_max: usize,
    pub sessions_live_max: usize,
    pub invites_live_max: usize,
    pub journal_bytes_max: u64,
    pub journal_tail_records: i64,
    pub flush_rows_max: usize,
    pub flush_interval: Duration,
    pub flush_timeout: Duration,
    pub mark_interval: Duration,
    pub cleanup_interval: Duration,
    pub lease: Duration,
    pub ack_in_postgres: bool,
    pub latency_max: Duration,
    pub wire_bytes_max: usize,
    pub sync_max: Duration,
    pub store_max: Duration,
}

/// Chances in a thousand: of what the director does next, or of each call.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub director_pause: Duration,
    pub kill: u32,
    pub power_loss: u32,
    pub restart: u32,
    pub disk_full: u32,
    pub sync_failure: u32,
    pub disk_stall: u32,
    pub outage: u32,
    pub restore: u32,
    pub clock_steps: bool,
    /// Of each call to the store.
    pub store_fails_before: u32,
    pub store_fails_after: u32,
    pub store_hangs: u32,
    pub store_is_slow: u32,
}

/// What people and hosts do, in thousandths of what they do next.
#[derive(Debug, Clone)]
pub struct Habits {
    pub pause_max: Duration,
    pub active: u32,
    pub update: u32,
    pub hide: u32,
    pub reload: u32,
    pub vanish: u32,
    pub lose_network: u32,
    pub leave: u32,
    pub duplicate: u32,
    pub steal_resume: u32,
    pub stop_reading: u32,
    pub flood: u32,
    pub host: u32,
    /// Of the director: what an app's backend does.
    pub control: u32,
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Plan {
    pub fn draw(seed: u64) -> (Self, Dice) {
        let mut dice = Dice::new(seed);
        let limits = Limits::draw(&mut dice);
        let plan = Self {
            seed,
            chaos: seconds(*dice.pick(&[40, 90, 180, 180, 400])),
            people: dice.between(1..=8),
            sessions: dice.between(1..=3),
            invites_per_session: dice.between(1..=3),
            policy: policy(&mut dice),
            faults: Faults::draw(&mut dice),
            habits: Habits::draw(&mut dice),
            limits,
        };
        (plan, dice)
    }
}

fn policy(dice: &mut Dice) -> PresencePolicy {
    let grace = seconds(*dice.pick(&[2, 5, 15]));
    PresencePolicy {
        grace,
        grace_hidden: grace * dice.between(1..=5) as u32,
        away_after: seconds(*dice.pick(&[10, 40, 300])),
        connections_per_participant_max: dice.between(1..=4) as usize,
        diff_windows: match dice.below(3) {
            0 => PresencePolicy::default().diff_windows,
            1 => vec![(2, Duration::ZERO), (usize::MAX, millis(20))],
            _ => vec![(usize::MAX, millis(100))],
        },
    }
}

impl Limits {
    fn draw(dice: &mut Dice) -> Self {
        let ping_interval = seconds(*dice.pick(&[4, 10, 20]));
        Self {
            idle_timeout: seconds(*dice.pick(&[10, 30, 90, 600])),
            max_duration: dice.one_in(4).then(|| seconds(dice.between(20..=300))),
            participants_max: dice.one_in(3).then(|| dice.between(1..=5) as u32),
            warn_before: [5, 15].into_iter().filter(|_| dice.one_in(2)).map(seconds).collect(),
            ping_interval,
            probe_after: ping_interval * 7 / 6,
            dead_after: ping_interval * 3 / 2,
            slow_consumer_timeout: seconds(dice.between(2..=10)),
            close_confirm_timeout: millis(*dice.pick(&[200, 1_000])),
            first_frame_timeout: seconds(5),
            outbox_bytes_max: *dice.pick(&[1_000, 4_000, 256 * 1024]),
            sessions_live_max: if dice.one_in(6) { 1 } else { 100 },
            invites_live_max: if dice.one_in(6) { 1 } else { 100 },
            journal_bytes_max: if dice.one_in(5) { dice.between(20_000..=60_000) } else { 1 << 30 },
            journal_tail_records: *dice.pick(&[0, 50, 100_000]),
            flush_rows_max: dice.between(1..=40) as usize,
            flush_interval: millis(*dice.pick(&[50, 200, 1_000])),
            flush_timeout: seconds(*dice.pick(&[1, 10])),
            mark_interval: millis(*dice.pick(&[250, 1_000, 1_000])),
            cleanup_interval: seconds(*dice.pick(&[7, 60])),
            lease: seconds(10),
            ack_in_postgres: dice.one_in(4),
            latency_max: millis(*dice.pick(&[1, 20, 150])),
            wire_bytes_max: *dice.pick(&[2_000, 16_000]),
            sync_max: millis(*dice.pick(&[1, 15, 60])),
            store_max: millis(*dice.pick(&[2, 10, 80])),
        }
    }
}

impl Faults {
    pub fn is_none(&self) -> bool {
        let chances = [
            self.kill,
            self.power_loss,
            self.restart,
            self.disk_full,
            self.sync_failure,
            self.disk_stall,
            self.outage,
            self.restore,
            self.store_fails_before,
            self.store_fails_after,
            self.store_hangs,
            self.store_is_slow,
        ];
        chances.iter().all(|chance| *chance == 0)
    }

    fn draw(dice: &mut Dice) -> Self {
        let director_pause = seconds(*dice.pick(&[4, 12, 30]));
        if dice.one_in(8) {
            return Self { director_pause, ..Self::default() };
        }
        let mut maybe = |chance: u32| if dice.one_in(2) { 0 } else { dice.between(1..=u64::from(chance)) as u32 };
        Self {
            director_pause,
            kill: maybe(250),
            power_loss: maybe(150),
            restart: maybe(150),
            disk_full: maybe(100),
            sync_failure: maybe(60),
            disk_stall: maybe(60),
            outage: maybe(150),
            restore: maybe(40) / 2,
            clock_steps: maybe(10) > 5,
            store_fails_before: maybe(60),
            store_fails_after: maybe(60),
            store_hangs: maybe(5),
            store_is_slow: maybe(60),
        }
    }
}

impl Habits {
    fn draw(dice: &mut Dice) -> Self {
        let pause_max = seconds(*dice.pick(&[2, 6, 15]));
        let mut often = |most: u32| if dice.one_in(3) { 0 } else { dice.between(1..=u64::from(most)) as u32 };
        Self {
            pause_max,
            active: 60 + often(200),
            update: often(80),
            hide: often(60),
            reload: often(80),
            vanish: often(50),
            lose_network: often(50),
            leave: often(50),
            duplicate: often(30),
            steal_resume: often(20),
            stop_reading: often(20),
            flood: often(10),
            host: often(40),
            control: often(400),
        }
    }
}
