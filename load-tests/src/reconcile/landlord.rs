//! The app's backend: makes sessions, removes people, withdraws links, ends sessions or lets them end by themselves.

use std::time::Duration;

use super::dice::Dice;
use super::stage::{Room, Stage};
use super::truth::Scope;
use crate::clock;

/// Pause before a call that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long the sessions of a finished run may take to end.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Kick,
    Revoke,
    Nothing,
}

/// Keeps one room going until the run is over.
pub async fn keep(stage: &Stage, index: usize) {
    let mut dice = Dice::for_actor(stage.seed, "landlord", index);
    while !stage.is_over() {
        let is_quiet = dice.percent(25);
        let idle_timeout_s = if is_quiet { dice.number(2..5) } else { dice.number(4..12) };
        let max_duration_s = dice.percent(25).then(|| dice.number(6..20));
        let Ok(session) = stage.rest.create_session(idle_timeout_s, max_duration_s).await else {
            stage.pause(RETRY_PAUSE).await;
            continue;
        };
        stage.open_room(index, Room { session: session.clone(), is_quiet });
        let ends_at = clock::now() + dice.millis(5_000..30_000);
        while clock::now() < ends_at && stage.pause(dice.millis(300..2_500)).await {
            meddle(stage, &session, &mut dice).await;
        }
        // The others end by themselves, when everybody has gone to the next one.
        if dice.percent(60) {
            end(stage, &session).await.ok();
        }
    }
}

async fn meddle(stage: &Stage, session: &str, dice: &mut Dice) {
    match dice.weighted(&[(15, Deed::Kick), (15, Deed::Revoke), (70, Deed::Nothing)]) {
        Some(Deed::Kick) => {
            let people = stage.people(session);
            let Some(participant) = people.get(dice.index(people.len())) else { return };
            let scope = Scope::Participant { session: session.to_owned(), participant: participant.clone() };
            stage.order(scope, "kicked", stage.rest.kick(session, participant)).await.ok();
        }
        Some(Deed::Revoke) => {
            let invites = stage.invites(session);
            let Some(invite) = invites.get(dice.index(invites.len())) else { return };
            stage.order(Scope::Invite(invite.clone()), "invite_revoked", stage.rest.revoke(invite)).await.ok();
        }
        Some(Deed::Nothing) | None => {}
    }
}

/// Ends every session that was ever made, once the run is over.
///
/// # Errors
/// The server does not do it in time.
pub async fn close_all(stage: &Stage) -> anyhow::Result<()> {
    let give_up_at = clock::now() + CLOSING_TIMEOUT;
    let sessions = stage.witness.lock().sessions.clone();
    for session in sessions {
        loop {
            match end(stage, &session).await {
                Ok(()) => break,
                Err(error) if clock::now() >= give_up_at => return Err(error),
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }
    Ok(())
}

async fn end(stage: &Stage, session: &str) -> anyhow::Result<()> {
    stage.order(Scope::Session(session.to_owned()), "session_ended", stage.rest.end_session(session)).await
}
