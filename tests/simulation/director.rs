//! Faults, and what an app's backend does: one thing after another, as the dice say.

use std::time::Duration;

use rollcall_core::{SessionId, Timestamp};

use super::desk;
use super::executor::Group;
use super::oracle::bills;
use super::people;
use super::setting;
use super::truth::Wish;
use super::world::{Phase, World};

#[derive(Debug, Clone, Copy)]
enum Deed {
    Nothing,
    Kill,
    PowerLoss,
    Restart,
    DiskFull,
    SyncFailure,
    DiskStall,
    Outage,
    Restore,
    Control,
}

/// Runs until the chaos is over.
pub async fn direct(world: World) {
    loop {
        let pause = world.dice().duration(Duration::ZERO..=world.plan.faults.director_pause);
        world.sleep(pause).await;
        if world.phase() != Phase::Chaos {
            return;
        }
        let faults = &world.plan.faults;
        let deed = world.dice().weighted(&[
            (100, Deed::Nothing),
            (faults.kill, Deed::Kill),
            (faults.power_loss, Deed::PowerLoss),
            (faults.restart, Deed::Restart),
            (faults.disk_full, Deed::DiskFull),
            (faults.sync_failure, Deed::SyncFailure),
            (faults.disk_stall, Deed::DiskStall),
            (faults.outage, Deed::Outage),
            (faults.restore, Deed::Restore),
            (world.plan.habits.control, Deed::Control),
        ]);
        bills::close(&world);
        carry_out(&world, deed).await;
    }
}

async fn carry_out(world: &World, deed: Deed) {
    match deed {
        Deed::Nothing => {}
        Deed::Kill => end_process(world, false),
        Deed::PowerLoss => end_process(world, true),
        Deed::Restart => {
            if let Some(process) = world.process() {
                // Somebody may be at the door.
                if world.dice().one_in(2) {
                    people::arrive(world, None);
                    let pause = world.dice().duration(Duration::ZERO..=world.plan.limits.latency_max * 3);
                    world.sleep(pause).await;
                }
                world.note("fault.restart", process.boot, String::new);
                let stopping = process.clone();
                process.spawn(async move { stopping.stop().await });
            }
        }
        Deed::DiskFull => {
            let lasts = world.dice().mostly_short(Duration::from_secs(40));
            disk_trouble(world, "fault.disk_full", lasts, |disk, _| disk.is_full = true);
        }
        Deed::DiskStall => {
            let lasts = world.dice().mostly_short(Duration::from_secs(15));
            disk_trouble(world, "fault.disk_stall", lasts, |disk, until| disk.stalled_until = until);
        }
        Deed::SyncFailure => {
            world.note("fault.sync_failure", 0, String::new);
            world.disk().fails_next = true;
        }
        Deed::Outage => {
            let lasts = world.dice().mostly_short(Duration::from_secs(60));
            let hangs = world.dice().one_in(2);
            world.note("fault.outage", u64::from(hangs), || format!("{lasts:?}"));
            world.database().down = Some(hangs);
            let task = world.clone();
            world.spawner.spawn(Group::World, async move {
                task.sleep(lasts).await;
                task.database().down = None;
            });
        }
        Deed::Restore => restore(world),
        Deed::Control => control(world).await,
    }
}

/// Kills the process: at once, within the next steps of its tasks, or in the middle of an append.
fn end_process(world: &World, power_loss: bool) {
    let boot = world.disk().boot;
    if boot == 0 {
        return;
    }
    world.note(if power_loss { "fault.power_loss" } else { "fault.kill" }, boot, String::new);
    world.truth().boot(boot).loses_power = power_loss;
    let way = world.dice().below(4);
    match way {
        0 => world.crash_in_append(false),
        1 => world.crash_in_append(true),
        _ => {
            let polls = world.dice().mostly_short(Duration::from_micros(64)).as_micros() as u64;
            world.spawner.end_after(Group::Node(boot), polls);
        }
    }
}

fn disk_trouble(
    world: &World,
    name: &'static str,
    lasts: Duration,
    change: impl FnOnce(&mut super::disk::Disk, Timestamp),
) {
    world.note(name, 0, || format!("{lasts:?}"));
    let until = world.now() + lasts;
    change(&mut world.disk(), until);
    world.truth().disk_troubles.push((world.now(), until));
    let task = world.clone();
    world.spawner.spawn(Group::World, async move {
        task.sleep(lasts).await;
        task.disk().is_full = false;
    });
}

/// Takes a snapshot of Postgres, or puts it back to the last one of this boot.
fn restore(world: &World) {
    if world.process().is_none() {
        return;
    }
    let snapshot = world.database().snapshot.take();
    let Some(snapshot) = snapshot else {
        let mut database = world.database();
        database.snapshot = Some(database.model.clone());
        database.snapshot_at = Some(world.now());
        drop(database);
        world.note("fault.snapshot", 0, String::new);
        return;
    };
    world.note("fault.restore", 0, String::new);
    let taken_at = {
        let mut database = world.database();
        database.model = snapshot;
        database.restores += 1;
        database.snapshot_at.take().expect("a snapshot has an instant")
    };
    let mut truth = world.truth();
    truth.restores += 1;
    truth.closed.clear();
    truth.restored_to = Some(taken_at);
    // What the control plane wrote since then is lost with it.
    for decision in truth.decisions.iter_mut().filter(|decision| decision.granted_at.is_none_or(|at| at >= taken_at)) {
        decision.is_undone = true;
    }
}

/// What an app's backend does.
async fn control(world: &World) {
    let Some(process) = world.process() else { return };
    let (sessions, invites, people): (Vec<SessionId>, Vec<_>, Vec<_>) = {
        let truth = world.truth();
        let invites = truth.invites.iter().map(|(id, invite)| (invite.session, *id)).collect();
        let joined = truth.attempts.iter().filter_map(|attempt| Some((attempt.session, attempt.joined?.participant)));
        (truth.sessions.keys().copied().collect(), invites, joined.collect())
    };
    let decisions = world.truth().decisions.len() as u64;
    let wish = {
        let mut dice = world.dice();
        match dice.below(11) {
            // Postgres must not forget a session that people are in.
            10 if world.plan.faults.restore == 0 => {
                Wish::Create(setting::session_id(0x40 + decisions), setting::invite_id(0x40 + decisions))
            }
            0..2 => Wish::End(*dice.pick(&sessions)),
            2..4 => Wish::Extend(*dice.pick(&sessions)),
            4..6 => Wish::Recover(*dice.pick(&sessions)),
            6..8 if !people.is_empty() => {
                let (session, participant) = *dice.pick(&people);
                Wish::Kick(session, participant)
            }
            _ => {
                let (session, invite) = *dice.pick(&invites);
                Wish::Revoke(session, invite)
            }
        }
    };
    if let Wish::End(session) = wish
        && world.dice().one_in(2)
    {
        people::arrive(world, Some(session));
    }
    let task = world.clone();
    let serving = process.clone();
    // On the process, so that it dies with it.
    process.spawn(async move {
        desk::carry_out(&task, &serving, wish).await.ok();
    });
}

/// Everything is well again, from now on.
pub fn heal(world: &World) {
    let now = world.now();
    let mut database = world.database();
    database.is_calm = true;
    database.down = None;
    drop(database);
    let mut disk = world.disk();
    disk.is_full = false;
    disk.fails_next = false;
    disk.stalled_until = now;
    drop(disk);
    world.disarm_append_crash();
    let mut truth = world.truth();
    truth.healed_at = Some(now);
}
