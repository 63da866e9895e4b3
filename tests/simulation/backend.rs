//! The app's own backend: it signs join tokens for its people.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rollcall::control::RootKey;
use rollcall_core::{TenantId, Timestamp};
use secrecy::ExposeSecret;
use serde_json::json;
use uuid::Uuid;

use super::people::Person;

pub const TENANT: TenantId = TenantId(Uuid::from_u128(1));

/// How long past its `exp` a token is still good, as docs/PROTOCOL.md has it.
const LEEWAY: Duration = Duration::from_secs(30);

/// What the server derives its secrets from.
pub fn root_key() -> RootKey {
    RootKey::from_bytes([7; 32])
}

/// A token for this person that is good until about this instant, and until when its holder may stay.
pub fn sign(person: &Person, until: Timestamp) -> (String, Timestamp) {
    let expires_s = until.0 / 1_000_000;
    let claims = json!({
        "sub": person.identity.clone().unwrap_or_else(|| format!("somebody-{}", person.number)),
        "aud": "rollcall",
        "exp": expires_s,
        "rollcall": { "session": person.session },
    });
    let secret = root_key().signing_secret(TENANT, 1);
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("plain claims");
    (token, Timestamp(expires_s * 1_000_000) + LEEWAY)
}
