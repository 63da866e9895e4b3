//! Invites and their uses: the one decision that a join leaves to the database.

use rollcall::store::{Consumed, StoredInvite};
use rollcall_core::{InviteId, ParticipantId, Timestamp};

use super::Model;

impl Model {
    /// Counts the use of an invite by a participant, unless it has used it before. `None`: there is no such invite.
    pub fn consume_invite(&mut self, invite: InviteId, participant: ParticipantId, now: Timestamp) -> Option<Consumed> {
        let row = self.invites.get(&invite)?;
        let session = self.sessions.get(&row.session)?;
        let used = self.invite_uses.contains_key(&(invite, participant));
        let outcome = if !session.is_active() {
            Consumed::SessionEnded
        } else if row.revoked_at.is_some() {
            Consumed::Revoked
        } else if row.expires_at <= now {
            Consumed::Expired
        } else if row.not_before.is_some_and(|not_before| now < not_before) {
            Consumed::NotYetValid
        } else if used {
            Consumed::Consumed { first: false }
        } else if row.max_uses.is_some_and(|max| row.uses >= max) {
            Consumed::UsedUp
        } else {
            Consumed::Consumed { first: true }
        };
        if outcome == (Consumed::Consumed { first: true }) {
            self.note_use(invite, participant, now);
        }
        Some(outcome)
    }

    /// Gives a use back that did not lead to an admission. Returns whether there was one.
    pub fn release_invite_use(&mut self, invite: InviteId, participant: ParticipantId) -> bool {
        let was_used = self.invite_uses.remove(&(invite, participant)).is_some();
        if let (true, Some(row)) = (was_used, self.invites.get_mut(&invite)) {
            row.uses -= 1;
        }
        was_used
    }

    /// One that does not exist counts as revoked.
    pub fn is_invite_revoked(&self, invite: InviteId) -> bool {
        self.invites.get(&invite).is_none_or(|row| row.revoked_at.is_some())
    }

    pub fn load_invite_by_hash(&self, token_hash: [u8; 32]) -> Option<StoredInvite> {
        self.invites.values().find(|row| row.token_hash == token_hash).cloned()
    }

    /// Invites of active sessions by id, at most `limit` of those after `after`, without those that expired before
    /// `expired_before`.
    pub fn load_live_invites(
        &self,
        after: Option<InviteId>,
        expired_before: Timestamp,
        limit: usize,
    ) -> Vec<StoredInvite> {
        let is_wanted = |row: &&StoredInvite| {
            after.is_none_or(|after| row.invite > after)
                && row.expires_at >= expired_before
                && self.sessions.get(&row.session).is_some_and(|session| session.is_active())
        };
        self.invites.values().filter(is_wanted).take(limit).cloned().collect()
    }

    /// Whoever was in was in, also by an invite that is gone or was used up by others since a restore; but only as many
    /// uses are counted as the invite has.
    pub(super) fn note_use(&mut self, invite: InviteId, participant: ParticipantId, at: Timestamp) {
        let Some(row) = self.invites.get_mut(&invite) else { return };
        let is_new = !self.invite_uses.contains_key(&(invite, participant));
        if is_new && row.max_uses.is_none_or(|max| row.uses < max) {
            row.uses += 1;
            self.invite_uses.insert((invite, participant), at);
        }
    }
}
