//! Resume tokens: signed by the server, bound to one participant and the connection it had. They hold everything needed
//! to come back, so they survive a restart of the server and need no database.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rollcall_core::{ConnectionId, InviteId, ParticipantId, Role, SessionId, TenantId, Timestamp, planted};
use rollcall_protocol::ErrorCode;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Grant;
use crate::control::RootKey;

/// How every resume token begins.
pub(super) const PREFIX: &str = "rcr_";

/// How long a resume token is good. Each join brings a new one.
const RESUME_VALID: Duration = Duration::from_secs(24 * 3600);

pub(super) struct ResumeSigner {
    key: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(rename = "t")]
    pub(super) tenant: TenantId,
    #[serde(rename = "s")]
    pub(super) session: SessionId,
    #[serde(rename = "p")]
    pub(super) participant: ParticipantId,
    #[serde(rename = "c")]
    pub(super) connection: ConnectionId,
    #[serde(rename = "i")]
    pub(super) identity: Arc<str>,
    #[serde(rename = "v")]
    pub(super) verified: bool,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Arc<str>>,
    #[serde(rename = "r")]
    pub(super) role: Role,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) invite: Option<InviteId>,
    /// The end of the token that let the client in first.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) stay_until: Option<Timestamp>,
    #[serde(rename = "x")]
    expires_at: Timestamp,
}

impl ResumeSigner {
    pub(super) fn new(root_key: &RootKey) -> Self {
        Self { key: root_key.derive(b"rollcall resume token v1", &[]) }
    }

    pub(super) fn sign(&self, grant: &Grant, connection: ConnectionId, now: Timestamp) -> String {
        let claims = Claims {
            tenant: grant.tenant,
            session: grant.session,
            participant: grant.participant,
            connection,
            identity: grant.identity.clone(),
            verified: grant.verified,
            name: grant.name.clone(),
            role: grant.role.clone(),
            invite: grant.invite,
            stay_until: grant.stay_until,
            expires_at: (now + RESUME_VALID).min(grant.stay_until.unwrap_or(Timestamp::NEVER)),
        };
        self.seal(&serde_json::to_vec(&claims).expect("claims are plain data"))
    }

    pub(super) fn seal(&self, claims: &[u8]) -> String {
        let body = URL_SAFE_NO_PAD.encode(claims);
        let mut mac = mac_with(&self.key);
        mac.update(body.as_bytes());
        format!("{PREFIX}{body}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, ErrorCode> {
        let invalid = ErrorCode::TokenInvalid;
        let (body, signature) = token.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')).ok_or(invalid)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| invalid)?;
        let mut mac = mac_with(&self.key);
        mac.update(body.as_bytes());
        // Compares in constant time.
        if !planted!("resume_token_is_not_checked") {
            mac.verify_slice(&signature).map_err(|_| invalid)?;
        }
        let claims = URL_SAFE_NO_PAD.decode(body).ok().and_then(|body| serde_json::from_slice(&body).ok());
        let claims: Claims = claims.ok_or(invalid)?;
        if claims.expires_at <= now { Err(ErrorCode::TokenExpired) } else { Ok(claims) }
    }
}

fn mac_with(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use rollcall_core::Epoch;
    use uuid::Uuid;

    use super::*;

    fn grant() -> Grant {
        Grant {
            tenant: TenantId(Uuid::from_u128(1)),
            session: SessionId(Uuid::from_u128(2)),
            participant: ParticipantId(Uuid::from_u128(3)),
            identity: "ann".into(),
            verified: true,
            name: Some("Ann".into()),
            role: Role::host(),
            invite: None,
            stay_until: None,
            resumed: None,
            counted: false,
        }
    }

    #[test]
    fn only_what_was_signed_is_believed() {
        let signer = ResumeSigner::new(&RootKey::from_text(&"root".into()));
        let connection = ConnectionId { epoch: Epoch(4), counter: 5 };
        let token = signer.sign(&grant(), connection, Timestamp::ZERO);
        let claims = signer.verify(&token, Timestamp::ZERO).expect("good");
        assert_eq!((claims.participant, claims.connection), (grant().participant, connection));
        assert_eq!(
            ResumeSigner::new(&RootKey::from_text(&"other".into())).verify(&token, Timestamp::ZERO),
            Err(ErrorCode::TokenInvalid)
        );
        for index in 4..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII");
            assert!(forged == token || signer.verify(&forged, Timestamp::ZERO).is_err(), "byte {index}");
        }
    }

    #[test]
    fn it_ends_with_the_token_that_it_came_from() {
        let signer = ResumeSigner::new(&RootKey::from_text(&"root".into()));
        let connection = ConnectionId { epoch: Epoch(4), counter: 5 };
        let short = Grant { stay_until: Some(Timestamp::from_millis(1_000)), ..grant() };
        let token = signer.sign(&short, connection, Timestamp::ZERO);
        assert!(signer.verify(&token, Timestamp::from_millis(999)).is_ok());
        assert_eq!(signer.verify(&token, Timestamp::from_millis(1_000)), Err(ErrorCode::TokenExpired));
        let token = signer.sign(&grant(), connection, Timestamp::ZERO);
        assert_eq!(signer.verify(&token, Timestamp::ZERO + RESUME_VALID), Err(ErrorCode::TokenExpired));
    }
}
