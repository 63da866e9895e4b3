//! The check that a landing page makes before anybody joins.

use chrono::{DateTime, Utc};
use rollcall_core::SessionId;
use rollcall_protocol::ErrorCode;

use crate::control::views::{InviteCheckView, InvitedSessionView};
use crate::control::{Control, ControlError, InviteToken};
use crate::store::invites::{self, InviteCheckRow};

impl Control {
    /// Tells the holder of a link whether it would let them in. A token that is none, or nobody's, gets the same answer.
    ///
    /// # Errors
    /// The database is away and memory does not know the invite.
    pub async fn check_invite(&self, token: &str) -> Result<InviteCheckView, ControlError> {
        let Ok(token) = InviteToken::parse(token.trim()) else { return Ok(unknown_token()) };
        let hash = token.hash();
        let found = match self.live.invite(&hash) {
            Some(found) => Some(found),
            None => invites::check(&self.store, &hash).await?,
        };
        Ok(found.map_or_else(unknown_token, |found| self.checked(found)))
    }

    fn checked(&self, found: InviteCheckRow) -> InviteCheckView {
        let now = self.now();
        // A timer may have ended the session a moment ago, before Postgres knows.
        let ended_in_memory = self.live.ended(SessionId(found.session_id)).unwrap_or(false);
        let refusal = refusal(&found, found.session_active && !ended_in_memory, now);
        // Whoever's invite was withdrawn learns nothing more of the session.
        let may_know = refusal != Some(ErrorCode::InviteRevoked);
        let status = if found.session_active && !ended_in_memory { "active" } else { "ended" };
        InviteCheckView {
            valid: refusal.is_none(),
            code: refusal.map(|code| code.as_str().to_owned()),
            message: refusal.map_or("This invite link is valid.", ErrorCode::message).to_owned(),
            session: may_know.then(|| InvitedSessionView {
                id: found.session_id,
                title: found.title,
                status: status.to_owned(),
            }),
            role: may_know.then_some(found.role),
            not_before: found.not_before.filter(|_| may_know),
            expires_at: Some(found.expires_at).filter(|_| may_know),
            expires_in_ms: may_know.then(|| (found.expires_at - now).num_milliseconds().max(0)),
        }
    }
}

/// Why this invite lets nobody in at `now`. The most final reason wins.
fn refusal(invite: &InviteCheckRow, session_active: bool, now: DateTime<Utc>) -> Option<ErrorCode> {
    if invite.revoked_at.is_some() {
        return Some(ErrorCode::InviteRevoked);
    }
    if !session_active {
        return Some(ErrorCode::SessionEnded);
    }
    if invite.expires_at <= now {
        return Some(ErrorCode::InviteExpired);
    }
    if invite.max_uses.is_some_and(|max_uses| invite.uses >= max_uses) {
        return Some(ErrorCode::InviteUsedUp);
    }
    if invite.not_before.is_some_and(|not_before| not_before > now) {
        return Some(ErrorCode::InviteNotYetValid);
    }
    None
}

fn unknown_token() -> InviteCheckView {
    InviteCheckView {
        valid: false,
        code: Some(ErrorCode::TokenInvalid.as_str().to_owned()),
        message: ErrorCode::TokenInvalid.message().to_owned(),
        session: None,
        role: None,
        not_before: None,
        expires_at: None,
        expires_in_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("in the calendar")
    }

    fn invite() -> InviteCheckRow {
        InviteCheckRow {
            session_id: Uuid::from_u128(1),
            title: None,
            session_active: true,
            role: "guest".to_owned(),
            not_before: Some(at(10)),
            expires_at: at(20),
            max_uses: Some(2),
            uses: 1,
            revoked_at: None,
        }
    }

    #[test]
    fn an_invite_is_good_between_its_ends() {
        let when = |seconds| refusal(&invite(), true, at(seconds));
        assert_eq!(when(9), Some(ErrorCode::InviteNotYetValid));
        assert_eq!(when(10), None);
        assert_eq!(when(19), None);
        assert_eq!(when(20), Some(ErrorCode::InviteExpired));
    }

    #[test]
    fn the_most_final_reason_wins() {
        let used = InviteCheckRow { uses: 2, ..invite() };
        assert_eq!(refusal(&used, true, at(15)), Some(ErrorCode::InviteUsedUp));
        assert_eq!(refusal(&used, true, at(25)), Some(ErrorCode::InviteExpired));
        assert_eq!(refusal(&used, false, at(25)), Some(ErrorCode::SessionEnded));
        let revoked = InviteCheckRow { revoked_at: Some(at(0)), ..used };
        assert_eq!(refusal(&revoked, false, at(25)), Some(ErrorCode::InviteRevoked));
    }
}
