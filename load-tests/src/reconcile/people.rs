//! The participants: each comes, stays, reloads, opens a second tab, vanishes, comes back, until the run is over.

use std::time::Duration;

use tokio::sync::oneshot;

use super::dice::Dice;
use super::stage::{Room, Stage};
use super::tab::{self, Ending, Outcome, Seat, TabPlan};
use super::truth::End;

/// Pause of a client that was not let in, or found nobody. Short: a restarted server is to meet everybody at once.
const RETRY_MS: std::ops::Range<u64> = 50..400;

/// How a stay ends, and how often.
const ENDINGS: &[(u64, Ending)] = &[
    (25, Ending::Close),
    (15, Ending::Finish),
    (15, Ending::Reset),
    (15, Ending::Leave),
    (15, Ending::Hole),
    (15, Ending::Stay),
];

/// What a person knows of the room it is in.
#[derive(Debug)]
struct Place {
    room: Room,
    invite: String,
    token: String,
    /// The latest tab: what it may resume, and when it was over.
    last: Option<(Seat, i64)>,
}

/// What the next tab comes in with.
struct Ticket {
    token: String,
    /// The connection that the token continues.
    resumes: Option<String>,
    testimony: Option<(String, i64)>,
}

/// Lives one participant until the run is over.
pub async fn live(stage: &Stage, number: usize) {
    let mut dice = Dice::for_actor(stage.seed, "participant", number);
    let identity = format!("person-{number}");
    let mut place: Option<Place> = None;
    let mut home = dice.index(stage.rooms());
    while stage.pause(dice.millis(RETRY_MS)).await {
        if dice.percent(10) {
            home = dice.index(stage.rooms());
            place = None;
        }
        let Some(room) = stage.room(home) else { continue };
        let mut here = match place.take().filter(|place| place.room == room) {
            Some(here) => here,
            None => match invited(stage, room, &identity, &mut dice).await {
                Some(here) => here,
                None => continue,
            },
        };
        match stay(stage, &identity, &mut here, &mut dice).await {
            // Removed for good: somewhere else, perhaps as somebody new to that room.
            Some(End::ByServer(4001) | End::Refused(4001)) => home = dice.index(stage.rooms()),
            // The link is of no use any more: ask for another one.
            Some(End::Refused(4000..4200) | End::ByServer(4003)) => {}
            Some(_) | None => place = Some(here),
        }
        if dice.percent(30) {
            stage.pause(dice.millis(500..4_000)).await;
        }
    }
}

async fn invited(stage: &Stage, room: Room, identity: &str, dice: &mut Dice) -> Option<Place> {
    // Some links are over before long: who is in stays, who comes later is refused.
    let expires_in_s = if dice.percent(20) { dice.number(1..4) } else { 3_600 };
    let invite = stage.rest.create_invite(&room.session, identity, expires_in_s).await.ok()?;
    stage.invited(&room.session, &invite.id);
    Some(Place { room, invite: invite.id, token: invite.token, last: None })
}

/// One visit: a tab, often with a second one beside it or one that takes over. Returns how the last of them ended.
async fn stay(stage: &Stage, identity: &str, here: &mut Place, dice: &mut Dice) -> Option<End> {
    let (mut first_dice, mut second_dice) = (dice.split(), dice.split());
    let ticket = ticket(here, dice);
    let (told, joined) = oneshot::channel();
    let takes_over = dice.percent(10);
    let mut first = plan(here, identity, ticket, dice);
    first.joined = Some(told);
    if takes_over {
        first.ending = Ending::Stay;
    }
    let beside = takes_over || dice.percent(35);
    let second = async {
        if !beside {
            return None;
        }
        let seat = joined.await.ok()?;
        tokio::time::sleep(second_dice.millis(20..2_500)).await;
        let ticket = if takes_over {
            Ticket { token: seat.resume, resumes: Some(seat.connection), testimony: None }
        } else {
            Ticket { token: here.token.clone(), resumes: None, testimony: None }
        };
        let plan = plan(here, identity, ticket, &mut second_dice);
        tab::run(stage, plan, &mut second_dice).await.ok()
    };
    let (first, second) = tokio::join!(tab::run(stage, first, &mut first_dice), second);
    let last: Outcome = [first.ok(), second].into_iter().flatten().max_by_key(|outcome| outcome.gone_at)?;
    if let Some(seat) = last.seat {
        here.last = Some((seat, last.gone_at));
    }
    Some(last.end)
}

fn ticket(here: &Place, dice: &mut Dice) -> Ticket {
    match &here.last {
        Some((seat, gone_at)) if dice.percent(70) => {
            let testimony = dice.percent(80).then(|| (seat.connection.clone(), *gone_at));
            Ticket { token: seat.resume.clone(), resumes: Some(seat.connection.clone()), testimony }
        }
        _ => Ticket { token: here.token.clone(), resumes: None, testimony: None },
    }
}

fn plan(here: &Place, identity: &str, ticket: Ticket, dice: &mut Dice) -> TabPlan {
    let ending = dice.weighted(ENDINGS).unwrap_or(Ending::Close);
    let stay_ms = if dice.percent(20) { 0..300 } else { 300..8_000 };
    TabPlan {
        identity: identity.to_owned(),
        session: here.room.session.clone(),
        invite: here.invite.clone(),
        token: ticket.token,
        resumes: ticket.resumes,
        testimony: ticket.testimony,
        piped: ending == Ending::Hole || dice.percent(20),
        stay: if ending == Ending::Stay { Duration::from_secs(15) } else { dice.millis(stay_ms) },
        ending,
        active: !here.room.is_quiet,
        joined: None,
    }
}
