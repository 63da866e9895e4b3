//! Who somebody is inside a session.

use std::borrow::Cow;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use rollcall_core::{ParticipantId, SessionId};
use rollcall_protocol::JoinRequest;
use sha2::Sha256;
use uuid::Builder;

use super::AdmissionError;
use crate::control::validation::{is_blank, is_misleading};

/// Longest identity in bytes.
pub const IDENTITY_BYTES_MAX: usize = 128;
/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// The participant of an identity in a session. Derived with the tenant's salt, so it needs no look-up, is the same after
/// every restart, and says nothing about the identity once the salt is gone.
///
/// A chosen identity never meets a fixed one: whoever claims to be `ann` is not the `ann` that a token vouches for.
pub fn participant_id(salt: &[u8], session: SessionId, identity: &str, verified: bool) -> ParticipantId {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(salt).expect("HMAC takes keys of any length");
    mac.update(session.0.as_bytes());
    mac.update(&[u8::from(verified)]);
    mac.update(identity.as_bytes());
    let digest = mac.finalize().into_bytes();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    ParticipantId(Builder::from_custom_bytes(bytes).into_uuid())
}

pub(super) fn checked_identity(request: &JoinRequest) -> Result<Option<Arc<str>>, AdmissionError> {
    checked(request.identity.as_deref(), IDENTITY_BYTES_MAX)
}

pub(super) fn checked_name(request: &JoinRequest) -> Result<Option<Arc<str>>, AdmissionError> {
    checked(request.name.as_deref().map(readable).as_deref(), NAME_BYTES_MAX)
}

fn checked(text: Option<&str>, bytes_max: usize) -> Result<Option<Arc<str>>, AdmissionError> {
    match text.map(str::trim) {
        Some(text) if is_fit(text, bytes_max) => Ok(Some(text.into())),
        Some(text) if !text.is_empty() && !is_blank(text) => Err(AdmissionError::Identity),
        None | Some(_) => Ok(None),
    }
}

/// Whether a text can be shown and compared as it is.
pub(super) fn is_fit(text: &str, bytes_max: usize) -> bool {
    !is_blank(text) && text.len() <= bytes_max && !text.chars().any(|one| one.is_control() || is_misleading(one))
}

/// A name as others see it. What would mislead them is left out rather than refused: telephones copy such characters along
/// with a name, and nobody would know what is wrong with it.
pub(super) fn readable(name: &str) -> Cow<'_, str> {
    if name.chars().any(is_misleading) {
        Cow::Owned(name.chars().filter(|one| !is_misleading(*one)).collect())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_readable_and_identities_are_not_touched() {
        let request = |name: &str| {
            let fields = serde_json::json!({ "token": "t", "name": name, "identity": name });
            serde_json::from_value::<JoinRequest>(fields).expect("a join")
        };
        let name = |text: &str| checked_name(&request(text)).map(|name| name.map(|name| name.to_string()));
        assert_eq!(name("\u{2068}Ann\u{2069} \u{202e}nnA").ok().flatten().as_deref(), Some("Ann nnA"));
        assert_eq!(name(" \u{200b}\u{3164} ").ok(), Some(None), "nothing to be seen is no name");
        assert!(name("a\u{0}b").is_err() && name(&"x".repeat(129)).is_err());
        let identity = |text: &str| checked_identity(&request(text));
        assert!(identity("ann\u{200b}").is_err(), "another identity that looks the same");
        assert_eq!(identity("ann").ok().flatten().as_deref(), Some("ann"));
    }

    #[test]
    fn participants_are_stable_and_distinct() {
        let (salt, session) = ([7; 32], SessionId(uuid::Uuid::from_u128(1)));
        let ann = participant_id(&salt, session, "ann", true);
        assert_eq!(ann, participant_id(&salt, session, "ann", true));
        assert_eq!(ann.0.get_version_num(), 8);
        let other_session = SessionId(uuid::Uuid::from_u128(2));
        for other in [
            participant_id(&salt, session, "ann", false),
            participant_id(&salt, session, "bob", true),
            participant_id(&salt, other_session, "ann", true),
            participant_id(&[8; 32], session, "ann", true),
        ] {
            assert_ne!(ann, other);
        }
    }
}
