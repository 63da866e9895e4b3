//! The control plane of a simulated process. `src/control` is bound to SQL transactions, so its order of steps is repeated
//! here: object and trail in one transaction, then the hub.

use std::time::Duration;

use rollcall::clock::simulated;
use rollcall::control::{ControlError, LiveError};
use rollcall::store::StoreError;
use rollcall::ws::HostCommand;
use rollcall_core::{Actor, Command, InviteId, ParticipantId, Refusal, SessionEndReason, SessionId};

use super::node::Process;
use super::setting;
use super::truth::{Decision, SessionTruth, Wish};
use super::world::World;

/// Carries out what a host asked for, and keeps what came of it.
pub async fn command(
    world: &World,
    process: &Process,
    session: SessionId,
    command: HostCommand,
) -> Result<(), ControlError> {
    match command {
        HostCommand::End(_) => carry_out(world, process, Wish::End(session)).await,
        HostCommand::Extend(_) => carry_out(world, process, Wish::Extend(session)).await,
        HostCommand::Kick(participant) => carry_out(world, process, Wish::Kick(session, participant)).await,
    }
}

/// Carries out a wish on this process, and notes it in the truth.
pub async fn carry_out(world: &World, process: &Process, wish: Wish) -> Result<(), ControlError> {
    let asked_at = world.now();
    let index = {
        let mut truth = world.truth();
        let decision = Decision { what: wish, asked_at, granted_at: None, is_undone: false };
        truth.decisions.push(decision);
        truth.decisions.len() - 1
    };
    let outcome = match wish {
        Wish::End(session) => end(process, session).await,
        Wish::Extend(session) => extend(world, process, session).await,
        Wish::Recover(session) => recover(process, session).await,
        Wish::Kick(session, participant) => kick(process, session, participant).await,
        Wish::Revoke(session, invite) => revoke(process, session, invite).await,
        Wish::Create(session, invite) => create(world, process, session, invite).await,
    };
    world.note(name(wish), index as u64, || format!("{wish:?}: {outcome:?}"));
    if outcome.is_ok() {
        let now = world.now();
        let mut truth = world.truth();
        truth.decisions[index].granted_at = Some(now);
        if let Wish::Revoke(_, invite) = wish
            && let Some(invite) = truth.invites.get_mut(&invite)
        {
            invite.revoked_at.get_or_insert(now);
        }
    }
    outcome
}

fn name(wish: Wish) -> &'static str {
    match wish {
        Wish::End(_) => "control.end",
        Wish::Extend(_) => "control.extend",
        Wish::Recover(_) => "control.recover",
        Wish::Kick(..) => "control.kick",
        Wish::Revoke(..) => "control.revoke",
        Wish::Create(..) => "control.create",
    }
}

/// As `Control::end_session`: frozen, no timer ends the session meanwhile and nobody comes in.
async fn end(process: &Process, session: SessionId) -> Result<(), ControlError> {
    let _gate = process.gate.lock().await;
    let is_active = is_active(process, session).await?;
    let live = match process.live.dispatch(session, Command::Freeze).await {
        Ok(()) => true,
        Err(LiveError::NotLive) => false,
        Err(LiveError::Refused(Refusal::SessionEnded(_))) if is_active => return Err(ControlError::SessionEnded),
        Err(LiveError::Refused(Refusal::SessionEnded(_))) => false,
        Err(error) => return Err(error.into()),
    };
    let at = process.clock.now();
    // Nothing that was heard after this instant gets into the books before the end does.
    let written =
        process.store.change_locked("store.end", move |model| model.end_session(session, live, &Actor::Operator, at));
    match written.await {
        Ok(true) => {
            let reason = SessionEndReason::Completed;
            tell(process, session, Command::End { reason, by: Actor::Operator, at, recorded: true }).await;
            Ok(())
        }
        outcome => {
            if live {
                tell(process, session, Command::Thaw).await;
            }
            outcome?;
            Err(ControlError::SessionEnded)
        }
    }
}

/// As `Control::extend_session`.
async fn extend(world: &World, process: &Process, session: SessionId) -> Result<(), ControlError> {
    let by = Duration::from_secs(world.dice().between(1..=60));
    let _gate = process.gate.lock().await;
    if !is_active(process, session).await? {
        return Err(ControlError::SessionEnded);
    }
    let extended = process.live.extended_by(session, by);
    let now = process.clock.now();
    let (hold_until, expires_at) = match extended {
        Some(extended) => extended,
        None => {
            let loaded = process.store.change("store.deadline", move |model| {
                model.sessions.get(&session).map(|row| (row.deadline() + by, row.expires_at))
            });
            let (target, expires_at) = loaded.await?.ok_or(ControlError::SessionNotFound)?;
            (target, expires_at.map(|expires_at| expires_at.max(target)))
        }
    };
    {
        let mut truth = world.truth();
        let error_us = truth.boot(process.boot).clock_error_us;
        let held_until = rollcall_core::Timestamp(hold_until.0 - error_us);
        if let Some(known) = truth.sessions.get_mut(&session) {
            known.held_until = known.held_until.max(held_until);
        }
    }
    let changed = process.store.change("store.extend", move |model| {
        model.extend_session(session, (hold_until, expires_at), &Actor::Operator, now)
    });
    if !changed.await? {
        return Err(ControlError::SessionEnded);
    }
    tell(process, session, Command::Hold { hold_until, expires_at }).await;
    if process.live.ended(session) == Some(true) { Err(ControlError::SessionEnded) } else { Ok(()) }
}

/// As `Control::recover_session`.
async fn recover(process: &Process, session: SessionId) -> Result<(), ControlError> {
    let _gate = process.gate.lock().await;
    // The end, and the leaves with it, may still be on their way.
    let settled = process.clock.timeout(Duration::from_secs(5), process.live.flushed()).await;
    settled.map_err(|_| ControlError::Unsettled)?;
    let now = process.clock.now();
    let expires_at = process
        .store
        .change("store.recover", move |model| {
            let row = model.sessions.get(&session)?;
            let expires_at = row.expires_at.map(|at| if at > now { at } else { now + Duration::from_secs(60) });
            model.recover_session(session, expires_at, &Actor::Operator, now).then_some(expires_at)
        })
        .await?
        .ok_or(ControlError::SessionNotEnded)?;
    match process.live.dispatch(session, Command::Recover { expires_at }).await {
        Ok(()) => {}
        Err(LiveError::NotLive) => {
            let loaded =
                process.store.change("store.load", move |model| model.load_session(session, simulated::now())).await;
            if let Ok(Some(loaded)) = loaded {
                process.hub.adopt(loaded).ok();
            }
        }
        Err(error) => process.store.world.note("control.not_in_memory", 0, || error.to_string()),
    }
    Ok(())
}

/// As `Control::kick`.
async fn kick(process: &Process, session: SessionId, participant: ParticipantId) -> Result<(), ControlError> {
    if !is_active(process, session).await? {
        return Err(ControlError::SessionEnded);
    }
    let _gate = process.gate.lock().await;
    match process.live.dispatch(session, Command::Kick { participant, by: Actor::Operator }).await {
        Ok(()) => Ok(()),
        Err(LiveError::NotLive | LiveError::Refused(Refusal::ParticipantUnknown)) => {
            bar(process, session, participant).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn bar(process: &Process, session: SessionId, participant: ParticipantId) -> Result<(), ControlError> {
    let now = process.clock.now();
    let outcome = process.store.change("store.bar", move |model| {
        let known = model.participants.get(&(session, participant)).map(|row| row.kicked_at.is_some());
        let barred = model.bar_participant(session, participant, &Actor::Operator, now);
        (known, barred, model.load_session(session, simulated::now()))
    });
    match outcome.await? {
        (None, ..) => Err(ControlError::ParticipantNotFound),
        (Some(true), ..) => Ok(()),
        (Some(false), _, loaded) => {
            if let Some(mut loaded) = loaded {
                loaded.spec.kicked = vec![participant];
                tell(process, session, Command::Configure(Box::new(loaded.spec))).await;
            }
            Ok(())
        }
    }
}

/// As `Control::revoke_invite`.
async fn revoke(process: &Process, session: SessionId, invite: InviteId) -> Result<(), ControlError> {
    let now = process.clock.now();
    process.store.change("store.revoke", move |model| model.revoke_invite(invite, &Actor::Operator, now)).await?;
    process.live.forget_invite(invite);
    tell(process, session, Command::RevokeInvite { invite }).await;
    Ok(())
}

/// As `Control::create_session` and `Control::create_invite`.
async fn create(world: &World, process: &Process, session: SessionId, invite: InviteId) -> Result<(), ControlError> {
    let now = process.clock.now();
    let spec = setting::session_spec(&world.plan.limits, session, now);
    let (truth, stored) = setting::draw_invite(&mut world.dice(), session, invite, now);
    let row = stored.clone();
    let created = process.store.change("store.create", move |model| {
        model.create_session(&spec, &Actor::Operator);
        model.create_invite(row, &Actor::Operator, now);
        model.load_session(session, simulated::now())
    });
    if let Some(loaded) = created.await? {
        // Where there is no room, the session is taken in when somebody joins.
        process.hub.adopt(loaded).ok();
    }
    process.hub.remember_invite(stored.into(), now);
    let held_until = world.now();
    let mut known = world.truth();
    known.sessions.insert(session, SessionTruth { held_until });
    known.invites.insert(invite, truth);
    Ok(())
}

async fn is_active(process: &Process, session: SessionId) -> Result<bool, StoreError> {
    process
        .store
        .change("store.session", move |model| model.sessions.get(&session).is_some_and(|row| row.is_active()))
        .await
}

/// A refusal means that the hub was faster.
async fn tell(process: &Process, session: SessionId, command: Command) {
    process.live.dispatch(session, command).await.ok();
}
