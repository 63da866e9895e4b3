//! What there is at the beginning, and what the backend makes later: sessions, invites, people.

use std::time::Duration;

use rollcall::control::InviteToken;
use rollcall::store::StoredInvite;
use rollcall_core::{Actor, InviteId, Role, SessionId, SessionSpec, Timestamp};
use uuid::Uuid;

use super::backend::TENANT;
use super::dice::Dice;
use super::people::{Person, Storage};
use super::plan::Limits;
use super::truth::{InviteTruth, SessionTruth};
use super::world::World;
use super::{START, people};

/// A tenant, its sessions with their invites, and the people who have them.
pub fn set_up(world: &World, dice: &mut Dice) {
    world.database().model.add_tenant(TENANT, [3; 32]);
    let mut invites = Vec::new();
    for number in 0..world.plan.sessions {
        let session = session_id(number);
        let spec = session_spec(&world.plan.limits, session, START);
        world.database().model.create_session(&spec, &Actor::Operator);
        world.truth().sessions.insert(session, SessionTruth { held_until: START });
        for _ in 0..world.plan.invites_per_session {
            let (truth, stored) = draw_invite(dice, session, invite_id(invites.len() as u64), START);
            invites.push((session, stored.invite));
            world.truth().invites.insert(stored.invite, truth);
            world.database().model.create_invite(stored, &Actor::Operator, START);
        }
    }
    for number in 0..world.plan.people {
        let (session, invite) = *dice.pick(&invites);
        let is_host = world.truth().invites[&invite].is_host;
        // Few names, so that one person has several devices.
        let identity = (!dice.one_in(5)).then(|| format!("person-{}", dice.below(world.plan.people)));
        let invite = (!dice.one_in(6)).then_some(invite);
        let is_host = is_host && invite.is_some();
        people::start(world, Person { number, session, invite, identity, is_host, storage: Storage::default() });
    }
}

pub fn session_id(number: u64) -> SessionId {
    SessionId(Uuid::from_u128(0x100 + u128::from(number)))
}

pub fn invite_id(number: u64) -> InviteId {
    InviteId(Uuid::from_u128(0x200 + u128::from(number)))
}

pub fn session_spec(limits: &Limits, session: SessionId, now: Timestamp) -> SessionSpec {
    SessionSpec {
        tenant: TENANT,
        session,
        title: None,
        created_at: now,
        idle_timeout: limits.idle_timeout,
        expires_at: limits.max_duration.map(|lasts| now + lasts),
        hold_until: now,
        participants_max: limits.participants_max,
        warn_before: limits.warn_before.clone(),
        started: false,
        last_activity_at: now,
        kicked: Vec::new(),
    }
}

pub fn draw_invite(
    dice: &mut Dice,
    session: SessionId,
    invite: InviteId,
    now: Timestamp,
) -> (InviteTruth, StoredInvite) {
    let mut bytes = [0; 32];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&dice.next().to_le_bytes()));
    let token = InviteToken::from_random(bytes);
    let is_host = dice.one_in(3);
    let truth = InviteTruth {
        session,
        token: token.expose().to_owned(),
        is_host,
        identity: dice.one_in(4).then(|| "fixed".to_owned()),
        max_uses: dice.one_in(2).then(|| dice.between(1..=3) as u32),
        not_before: dice.one_in(6).then(|| now + Duration::from_secs(dice.between(1..=30))),
        expires_at: now + Duration::from_secs(if dice.one_in(3) { dice.between(5..=120) } else { 86_400 }),
        revoked_at: None,
    };
    let stored = StoredInvite {
        invite,
        tenant: TENANT,
        session,
        token_hash: token.hash(),
        role: if is_host { Role::host() } else { Role::guest() },
        identity: truth.identity.as_deref().map(Into::into),
        name: None,
        not_before: truth.not_before,
        expires_at: truth.expires_at,
        max_uses: truth.max_uses,
        uses: 0,
        revoked_at: None,
    };
    (truth, stored)
}
