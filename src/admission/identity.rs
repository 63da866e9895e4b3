//! Who somebody is inside a session.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use rollcall_core::{ParticipantId, SessionId};
use rollcall_protocol::JoinRequest;
use sha2::Sha256;
use uuid::Builder;

use super::AdmissionError;

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
    checked(request.name.as_deref(), NAME_BYTES_MAX)
}

fn checked(text: Option<&str>, bytes_max: usize) -> Result<Option<Arc<str>>, AdmissionError> {
    match text.map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) if text.len() > bytes_max || text.chars().any(char::is_control) => Err(AdmissionError::Identity),
        Some(text) => Ok(Some(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
