//! What a host may do over its socket. Each command goes to the control plane, in a task of its own: the database must
//! not hold up the socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rollcall_core::{Actor, Member, SessionId};
use rollcall_protocol::{ClientMessage, ErrorCode};

use super::SharedWs;
use super::environment::Environment;
use crate::control::Call;
use crate::control::ending::{EndRequest, Extension};
use crate::hub::{Outbox, Outgoing};

/// Commands of one connection that may be worked on at once. More are told to wait.
const COMMANDS_AT_ONCE_MAX: u32 = 8;

/// Checks the role and starts the command.
pub(super) fn start<E: Environment>(
    ws: &SharedWs<E>,
    outbox: &Arc<Outbox>,
    session: SessionId,
    member: Member,
    under_way: &Arc<AtomicU32>,
    command: ClientMessage<'_>,
) {
    let spec = ws.hub.read(session, |session| {
        let is_host = session.role_of(member).is_some_and(|role| role.is_host());
        is_host.then(|| session.spec().tenant)
    });
    let Some(Some(tenant)) = spec else {
        return outbox.push(Outgoing::Error(ErrorCode::Forbidden));
    };
    let Some(command) = HostCommand::from_message(command) else {
        return outbox.push(Outgoing::Error(ErrorCode::MalformedFrame));
    };
    if under_way.fetch_add(1, Relaxed) >= COMMANDS_AT_ONCE_MAX {
        under_way.fetch_sub(1, Relaxed);
        return outbox.push(Outgoing::Error(ErrorCode::RateLimited));
    }
    let call = Call::new(tenant, Actor::Participant(member.participant));
    let (ws, outbox, under_way) = (ws.clone(), outbox.clone(), under_way.clone());
    let shared = ws.clone();
    let work = async move {
        // Success shows in what everybody is told: `ended`, `extended`, or a leave.
        if let Err(error) = ws.environment.command(call, session, command).await {
            if error.code() == ErrorCode::Internal {
                tracing::error!(error = &error as &dyn std::error::Error, session.id = %session, "host command failed");
            }
            outbox.push(Outgoing::Error(error.code()));
        }
        under_way.fetch_sub(1, Relaxed);
    };
    shared.environment.spawn_apart(work);
}

/// What a host asks for, once it is known to be one.
#[derive(Debug)]
pub enum HostCommand {
    End(EndRequest),
    Extend(Extension),
    Kick(rollcall_core::ParticipantId),
}

impl HostCommand {
    fn from_message(message: ClientMessage<'_>) -> Option<Self> {
        match message {
            ClientMessage::End(end) => Some(Self::End(EndRequest { reason: end.reason })),
            ClientMessage::Extend(extend) => Some(Self::Extend(Extension { by_s: i64::try_from(extend.by_s).ok()? })),
            ClientMessage::Kick(kick) => kick.participant_id.parse().ok().map(Self::Kick),
            _ => None,
        }
    }
}
