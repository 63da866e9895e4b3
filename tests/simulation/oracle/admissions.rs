//! Who got in: by a valid invite, not more often than it may be used, and nobody who was sent away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rollcall_core::{InviteId, ParticipantId, SessionFact, Timestamp};

use super::{Case, Findings};
use crate::model::rows::Event;
use crate::truth::{Attempt, Token, Wish};

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    check_uses(case, findings);
    check_availability(case, findings);
    for attempt in case.truth.attempts.iter().filter(|attempt| attempt.joined.is_some()) {
        check_invite(case, attempt, findings);
        check_sent_away(case, attempt, findings);
        check_token(case, attempt, findings);
    }
}

/// Nothing is ever said to be wrong inside the server; and where nothing is wrong at all, nobody is told to come later.
fn check_availability(case: &Case<'_>, findings: &mut Findings) {
    let plan = &case.world.plan;
    let has_room = plan.limits.journal_bytes_max >= 1 << 20 && plan.limits.sessions_live_max > 1;
    // While an end is being written its session takes nobody in.
    let is_ending = case.truth.decisions.iter().any(|decision| matches!(decision.what, Wish::End(_)));
    for attempt in &case.truth.attempts {
        let Some(code) = attempt.refused.as_deref() else { continue };
        let is_later = attempt.joined.is_none() && matches!(code, "overloaded" | "restarting");
        if code == "internal"
            || (is_later && has_room && !is_ending && plan.faults.is_none() && !attempt.refused_at_the_end)
        {
            findings.push(("available", format!("somebody was refused as `{code}`: {attempt:?}")));
        }
    }
}

/// Everybody who came by a limited invite counts once, and there are no more of them than it allows.
fn check_uses(case: &Case<'_>, findings: &mut Findings) {
    if case.truth.restores > 0 {
        // Uses that Postgres forgot in a restore may be given again.
        return;
    }
    let mut people: BTreeMap<InviteId, BTreeSet<ParticipantId>> = BTreeMap::new();
    for row in &case.books.audit {
        if let Event::Recorded {
            fact: SessionFact::ConnectionOpened { participant, invite: Some(invite), .. }, ..
        } = &row.event
        {
            people.entry(*invite).or_default().insert(*participant);
        }
    }
    for (invite, row) in &case.books.invites {
        let came = people.get(invite).map_or(0, BTreeSet::len);
        let counted = case.books.invite_uses.keys().filter(|(of, _)| of == invite).count();
        if counted != row.uses as usize {
            findings.push(("invite uses", format!("{invite} has {} uses and {counted} users", row.uses)));
        }
        if row.max_uses.is_some_and(|max| came > max as usize || row.uses > max) {
            let max = row.max_uses;
            findings.push(("invite uses", format!("{invite} let {came} in, counted {}, allows {max:?}", row.uses)));
        }
    }
}

/// The invite was good when its holder came, by the clock of the node.
fn check_invite(case: &Case<'_>, attempt: &Attempt, findings: &mut Findings) {
    let (Some(asked_at), Some(invite)) = (attempt.asked_at, attempt.invite()) else { return };
    let invite = &case.truth.invites[&invite];
    let error_us = case.truth.boots[&attempt.boot].clock_error_us;
    let on_the_node = Timestamp(asked_at.0 + error_us);
    let joined = attempt.joined;
    if let Token::Invite(_) = attempt.token {
        if invite.expires_at <= on_the_node {
            findings.push(("valid invites", format!("{joined:?} came by an invite that had expired")));
        }
        let joined_at = joined.map(|joined| Timestamp(joined.at.0 + error_us));
        if invite.not_before.zip(joined_at).is_some_and(|(not_before, at)| at < not_before) {
            findings.push(("valid invites", format!("{joined:?} came by an invite that was not valid yet")));
        }
    }
    if case.truth.restores == 0 && invite.revoked_at.is_some_and(|revoked_at| revoked_at < asked_at) {
        let what = format!("{joined:?} came at {asked_at:?} by an invite revoked at {:?}", invite.revoked_at);
        findings.push(("valid invites", what));
    }
}

/// Nobody stays longer than the app's token allows, by the clock of the node.
fn check_token(case: &Case<'_>, attempt: &Attempt, findings: &mut Findings) {
    let Some(joined) = attempt.joined else { return };
    let span = case.books.spans.get(&joined.connection);
    let (Some(stay_until), Some(span)) = (attempt.stay_until, span) else { return };
    if span.proven_until() > stay_until {
        findings.push(("valid tokens", format!("{joined:?} may stay until {stay_until:?}: {span:?}")));
    }
}

/// Nobody is let in who was removed before, or into a session that was ended; and who is in at that time goes at once.
fn check_sent_away(case: &Case<'_>, attempt: &Attempt, findings: &mut Findings) {
    let (Some(joined), Some(asked_at)) = (attempt.joined, attempt.asked_at) else { return };
    let granted = case.truth.decisions.iter().filter(|decision| !decision.is_undone);
    for decision in granted {
        let Some(granted_at) = decision.granted_at else { continue };
        let concerns = match decision.what {
            Wish::Kick(session, participant) => (session, participant) == (attempt.session, joined.participant),
            Wish::End(session) => session == attempt.session && !is_recovered_after(case, session, decision.asked_at),
            Wish::Revoke(_, invite) => Some(invite) == attempt.invite() && case.truth.restores == 0,
            Wish::Extend(_) | Wish::Recover(_) | Wish::Create(..) => false,
        };
        if !concerns {
            continue;
        }
        if asked_at > granted_at {
            findings.push(("sent away", format!("{joined:?} came at {asked_at:?}, after {decision:?}")));
        } else if let Some(span) = case.books.spans.get(&joined.connection) {
            let until = case.truth.true_time(joined.connection.epoch, span.proven_until());
            if until > granted_at + SENT_AWAY_LATE_MAX {
                findings.push(("sent away", format!("{joined:?} was in until {until:?}, after {decision:?}")));
            }
        }
    }
}

/// Those inside are closed within this time.
const SENT_AWAY_LATE_MAX: Duration = Duration::from_secs(1);

fn is_recovered_after(case: &Case<'_>, session: rollcall_core::SessionId, at: Timestamp) -> bool {
    case.truth.decisions.iter().any(|decision| {
        matches!(decision.what, Wish::Recover(of) if of == session)
            && decision.granted_at.is_none_or(|granted_at| granted_at >= at)
    })
}
