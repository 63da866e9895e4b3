//! Fuzzing of everything that is shown at the door: invite tokens, API keys, resume tokens, JWTs.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rollcall_core::{ConnectionId, Epoch, ParticipantId, Role, SessionId, TenantId, Timestamp};
use secrecy::ExposeSecret;
use sha2::Sha256;
use uuid::Uuid;

use super::Grant;
use super::identity::IDENTITY_BYTES_MAX;
use super::jwt::{JwtVerifier, claimed_session};
use super::resume::ResumeSigner;
use crate::control::{ApiKey, InviteToken, RootKey};

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// What an honest app signs.
const CLAIMS: &str = r#"{"sub":"ann","aud":"rollcall","exp":1800003600,"rollcall":{"session":"00000000-0000-0000-0000-000000000002","role":"host"}}"#;

/// A server's keys, and what was honestly signed with them.
struct Door {
    signing_secret: String,
    jwt: JwtVerifier,
    resume: ResumeSigner,
    good_jwt: String,
    good_resume: String,
}

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let root_key = Arc::new(RootKey::from_text(&"fuzzing-fuzzing-fuzzing-fuzzing-fuzzing".into()));
    let signing_secret = root_key.signing_secret(TENANT, 1).expose_secret().to_owned();
    let resume = ResumeSigner::new(&root_key);
    let grant = Grant {
        tenant: TENANT,
        session: SessionId(Uuid::from_u128(2)),
        participant: ParticipantId(Uuid::from_u128(3)),
        identity: "ann".into(),
        verified: true,
        name: None,
        role: Role::guest(),
        invite: None,
        stay_until: None,
        resumed: None,
        counted: false,
    };
    Door {
        good_jwt: sign(&signing_secret, HEADER, CLAIMS),
        good_resume: resume.sign(&grant, ConnectionId { epoch: Epoch(4), counter: 5 }, NOW),
        jwt: JwtVerifier::new(root_key, Vec::new()),
        signing_secret,
        resume,
    }
});

/// Nothing is believed but what was signed; and what was signed, whatever it says, is refused or within its limits. The
/// input is shown as a token as it is; then its first line is signed as the header of a JWT and the rest as its claims.
pub fn tokens(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    show(text);
    let (header, claims) = text.split_once('\n').unwrap_or((HEADER, text));
    sign_and_show(header, claims);
    DOOR.resume.verify(&DOOR.resume.seal(claims.as_bytes()), NOW).ok();
}

fn show(text: &str) {
    let text = match text.trim() {
        "a good JWT" => &DOOR.good_jwt,
        "a good resume token" => &DOOR.good_resume,
        text => text,
    };
    assert!(InviteToken::parse(text).is_ok_and(|token| token.expose() == text) || InviteToken::parse(text).is_err());
    assert!(ApiKey::parse(text).is_err() || InviteToken::parse(text).is_err(), "one token of two kinds");
    claimed_session(text);
    if DOOR.resume.verify(text, NOW).is_ok() {
        assert_eq!(text, DOOR.good_resume, "a forged resume token is believed");
    }
    if DOOR.jwt.verify(text, TENANT, 1, NOW).is_ok() {
        assert_eq!(text, DOOR.good_jwt, "a forged JWT is believed");
    }
    assert!(DOOR.jwt.verify(text, TENANT, 2, NOW).is_err(), "a secret that was replaced is believed");
    assert!(
        DOOR.jwt.verify(text, TenantId(Uuid::from_u128(9)), 1, NOW).is_err(),
        "a JWT of another tenant is believed"
    );
}

fn sign_and_show(header: &str, claims: &str) {
    let token = sign(&DOOR.signing_secret, header, claims);
    claimed_session(&token);
    let Ok(believed) = DOOR.jwt.verify(&token, TENANT, 1, NOW) else { return };
    let header: serde_json::Value = serde_json::from_str(header).expect("the header was read");
    assert_eq!(header["alg"], "HS256", "an algorithm that is not the key's");
    assert!(!believed.identity.trim().is_empty() && believed.identity.len() <= IDENTITY_BYTES_MAX);
    assert!(!believed.identity.chars().any(char::is_control));
    assert!(believed.stay_until > NOW);
}

fn sign(secret: &str, header: &str, claims: &str) -> String {
    let body = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_tokens_are_believed() {
        assert!(DOOR.jwt.verify(&DOOR.good_jwt, TENANT, 1, NOW).is_ok());
        assert!(DOOR.resume.verify(&DOOR.good_resume, NOW).is_ok());
    }
}
