//! JWTs minted by the app's backend. The algorithm is pinned by the key and never taken from the token.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rollcall_core::{Role, SessionId, TenantId, Timestamp};
use rollcall_protocol::ErrorCode;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::identity::{IDENTITY_BYTES_MAX, NAME_BYTES_MAX};
use crate::control::RootKey;

/// Longest token in bytes.
const JWT_BYTES_MAX: usize = 8 * 1024;
/// How far the clocks of app and server may be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// Algorithms of configured public keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
pub enum JwtAlgorithm {
    EdDSA,
    ES256,
    RS256,
}

/// A public key of a tenant, from the configuration.
pub struct JwtKey {
    tenant: TenantId,
    kid: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Debug, thiserror::Error)]
#[error("the public key is not a PEM of its algorithm")]
pub struct JwtKeyError(#[from] jsonwebtoken::errors::Error);

impl JwtKey {
    /// # Errors
    /// The text is not a PEM of that algorithm.
    pub fn from_pem(
        tenant: TenantId,
        kid: String,
        algorithm: JwtAlgorithm,
        public_key_pem: &str,
    ) -> Result<Self, JwtKeyError> {
        let pem = public_key_pem.as_bytes();
        let (algorithm, key) = match algorithm {
            JwtAlgorithm::EdDSA => (Algorithm::EdDSA, DecodingKey::from_ed_pem(pem)?),
            JwtAlgorithm::ES256 => (Algorithm::ES256, DecodingKey::from_ec_pem(pem)?),
            JwtAlgorithm::RS256 => (Algorithm::RS256, DecodingKey::from_rsa_pem(pem)?),
        };
        Ok(Self { tenant, kid, algorithm, key })
    }
}

pub(super) struct JwtVerifier {
    root_key: Arc<RootKey>,
    keys: Vec<JwtKey>,
}

/// What a verified token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct VerifiedClaims {
    pub(super) identity: String,
    pub(super) name: Option<String>,
    pub(super) role: Role,
    pub(super) stay_until: Timestamp,
}

#[derive(Debug, Deserialize)]
struct RawClaims {
    sub: String,
    exp: i64,
    name: Option<String>,
    rollcall: Option<RollcallClaims>,
    #[serde(rename = "rollcall.role")]
    flat_role: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RollcallClaims {
    session: Option<SessionId>,
    role: Option<String>,
}

/// Where the token wants to go. Nothing of it is believed yet.
pub(super) fn claimed_session(token: &str) -> Option<SessionId> {
    #[derive(Deserialize)]
    struct Where {
        rollcall: Option<RollcallClaims>,
        #[serde(rename = "rollcall.session")]
        flat_session: Option<SessionId>,
    }
    if token.len() > JWT_BYTES_MAX {
        return None;
    }
    let claims = jsonwebtoken::dangerous::insecure_decode::<Where>(token).ok()?.claims;
    claims.rollcall.and_then(|claims| claims.session).or(claims.flat_session)
}

impl JwtVerifier {
    pub(super) fn new(root_key: Arc<RootKey>, keys: Vec<JwtKey>) -> Self {
        Self { root_key, keys }
    }

    /// # Errors
    /// The code for the client; it does not learn which check failed.
    pub(super) fn verify(
        &self,
        token: &str,
        tenant: TenantId,
        secret_version: i32,
        now: Timestamp,
    ) -> Result<VerifiedClaims, ErrorCode> {
        let invalid = ErrorCode::TokenInvalid;
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid)?;
        let configured = header.kid.and_then(|kid| self.keys.iter().find(|key| key.tenant == tenant && key.kid == kid));
        let claims = match configured {
            Some(key) => decode(token, &key.key, key.algorithm)?,
            None => {
                let secret = self.root_key.signing_secret(tenant, secret_version);
                decode(token, &DecodingKey::from_secret(secret.expose_secret().as_bytes()), Algorithm::HS256)?
            }
        };
        let stay_until = Timestamp(claims.exp.checked_mul(1_000_000).ok_or(invalid)?) + LEEWAY;
        if stay_until <= now {
            return Err(ErrorCode::TokenExpired);
        }
        let fits = |text: &str, bytes_max| !text.is_empty() && text.len() <= bytes_max;
        if !fits(&claims.sub, IDENTITY_BYTES_MAX) {
            return Err(invalid);
        }
        let role = claims.rollcall.and_then(|claims| claims.role).or(claims.flat_role);
        let role = role.map_or(Ok(Role::guest()), |role| Role::parse(&role)).map_err(|_| invalid)?;
        let name = claims.name.filter(|name| fits(name, NAME_BYTES_MAX));
        Ok(VerifiedClaims { identity: claims.sub, name, role, stay_until })
    }
}

fn decode(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<RawClaims, ErrorCode> {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["rollcall"]);
    validation.set_required_spec_claims(&["exp", "aud", "sub"]);
    // Expiry is judged by the caller against the server's own clock.
    validation.validate_exp = false;
    jsonwebtoken::decode::<RawClaims>(token, key, &validation)
        .map(|data| data.claims)
        .map_err(|_| ErrorCode::TokenInvalid)
}
