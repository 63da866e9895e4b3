//! What a caller may say of an invite.

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_core::Role;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::control::validation::{
    IDENTITY_BYTES_MAX, INVITE_EXPIRES_IN_S, INVITE_EXPIRES_IN_S_DEFAULT, INVITE_MAX_USES, NAME_CHARACTERS_MAX,
    Violations,
};

/// An invite to create.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewInvite {
    /// `host` may end, extend and kick; every other name is the app's own.
    #[schema(max_length = 32, default = "guest", pattern = "^[a-z0-9_-]{1,32}$")]
    pub role: String,
    /// The invite is good for this long from now. Not together with `expires_at`.
    #[schema(minimum = 1, maximum = 31_622_400, default = 86400)]
    pub expires_in_s: Option<i64>,
    /// The instant up to which the invite is good.
    pub expires_at: Option<DateTime<Utc>>,
    /// Nobody comes in by it before this instant.
    pub not_before: Option<DateTime<Utc>>,
    /// How many different participants may come in by it. Whoever came in may return.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max_uses: Option<i64>,
    /// Fixes the identity of whoever comes in by it: the app's stable name for the person.
    #[schema(max_length = 128)]
    pub identity: Option<String>,
    /// The name that others see.
    #[schema(max_length = 100)]
    pub name: Option<String>,
}

impl Default for NewInvite {
    fn default() -> Self {
        Self {
            role: Role::guest().as_str().to_owned(),
            expires_in_s: None,
            expires_at: None,
            not_before: None,
            max_uses: None,
            identity: None,
            name: None,
        }
    }
}

impl NewInvite {
    pub fn check(&self, violations: &mut Violations, now: DateTime<Utc>) {
        violations.role("/role", &self.role);
        if let Some(expires_in_s) = self.expires_in_s {
            violations.number("/expires_in_s", expires_in_s, &INVITE_EXPIRES_IN_S);
            if self.expires_at.is_some() {
                violations.add("/expires_at", "give either expires_in_s or expires_at, not both");
            }
        }
        if let Some(expires_at) = self.expires_at {
            let seconds = (expires_at - now).num_seconds();
            if expires_at <= now || seconds > *INVITE_EXPIRES_IN_S.end() {
                violations.add(
                    "/expires_at",
                    format!("must lie in the future, at most {} seconds away", INVITE_EXPIRES_IN_S.end()),
                );
            }
        }
        if self.not_before.is_some_and(|not_before| not_before >= self.expiry(now)) {
            violations.add("/not_before", "must be earlier than the expiry");
        }
        if let Some(max_uses) = self.max_uses {
            violations.number("/max_uses", max_uses, &INVITE_MAX_USES);
        }
        if let Some(identity) = &self.identity {
            violations.bytes("/identity", identity, IDENTITY_BYTES_MAX);
        }
        if let Some(name) = &self.name {
            violations.characters("/name", name, NAME_CHARACTERS_MAX);
        }
    }

    pub(super) fn expiry(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        // Out of range is a violation of its own; here it only must not overflow.
        let seconds = self.expires_in_s.unwrap_or(INVITE_EXPIRES_IN_S_DEFAULT).clamp(0, *INVITE_EXPIRES_IN_S.end());
        self.expires_at.unwrap_or_else(|| now + TimeDelta::seconds(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("in the calendar")
    }

    #[test]
    fn an_invite_names_all_its_faults_at_once() {
        let new = NewInvite {
            role: "Host".to_owned(),
            expires_in_s: Some(0),
            expires_at: Some(at(-1)),
            not_before: Some(at(5)),
            max_uses: Some(0),
            identity: Some(String::new()),
            name: Some("x".repeat(101)),
        };
        let mut violations = Violations::default();
        new.check(&mut violations, at(0));
        let mut pointers: Vec<_> = violations.0.iter().map(|violation| violation.pointer.as_str()).collect();
        pointers.sort_unstable();
        pointers.dedup();
        assert_eq!(
            pointers,
            ["/expires_at", "/expires_in_s", "/identity", "/max_uses", "/name", "/not_before", "/role"]
        );
    }

    #[test]
    fn extreme_instants_do_not_overflow() {
        for expires_at in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC] {
            let new = NewInvite { expires_at: Some(expires_at), expires_in_s: Some(i64::MAX), ..NewInvite::default() };
            let mut violations = Violations::default();
            new.check(&mut violations, at(0));
            assert!(!violations.is_empty());
            let lone = NewInvite { expires_in_s: Some(i64::MAX), not_before: Some(at(1)), ..NewInvite::default() };
            lone.check(&mut violations, at(0));
        }
    }
}
