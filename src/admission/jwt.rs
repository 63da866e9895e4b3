//! JWTs minted by the app's backend. The algorithm is pinned by the key and never taken from the token.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rollcall_core::{Role, SessionId, TenantId, Timestamp};
use rollcall_protocol::ErrorCode;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::identity::{IDENTITY_BYTES_MAX, NAME_BYTES_MAX, is_fit, readable};
use crate::control::RootKey;

/// Longest token in bytes.
const JWT_BYTES_MAX: usize = 8 * 1024;
/// How far the clocks of app and server may be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// A public key of a tenant, from the configuration.
pub struct JwtKey {
    tenant: TenantId,
    kid: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why the file with public keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwtKeysError {
    #[error("auth.jwt_keys_file {path} cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("auth.jwt_keys_file {path} is not a list of [[keys]] with tenant, kid, algorithm and public_key")]
    Parse { path: PathBuf, source: toml::de::Error },
    #[error("the key {kid} in auth.jwt_keys_file is not a PEM of its algorithm")]
    Key { kid: String, source: jsonwebtoken::errors::Error },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    keys: Vec<KeyEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    tenant: TenantId,
    kid: String,
    algorithm: KeyAlgorithm,
    public_key: String,
}

/// Asymmetric algorithms only: a shared secret is derived from the root key and never configured.
#[derive(Deserialize, Clone, Copy)]
enum KeyAlgorithm {
    EdDSA,
    ES256,
    RS256,
}

/// Reads the public keys of tenants.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn load_jwt_keys(path: &Path) -> Result<Vec<JwtKey>, JwtKeysError> {
    let text = std::fs::read_to_string(path).map_err(|source| JwtKeysError::Read { path: path.to_owned(), source })?;
    let file: KeysFile =
        toml::from_str(&text).map_err(|source| JwtKeysError::Parse { path: path.to_owned(), source })?;
    file.keys.into_iter().map(JwtKey::try_from).collect()
}

impl TryFrom<KeyEntry> for JwtKey {
    type Error = JwtKeysError;

    fn try_from(entry: KeyEntry) -> Result<Self, JwtKeysError> {
        let pem = entry.public_key.as_bytes();
        let (algorithm, key) = match entry.algorithm {
            KeyAlgorithm::EdDSA => (Algorithm::EdDSA, DecodingKey::from_ed_pem(pem)),
            KeyAlgorithm::ES256 => (Algorithm::ES256, DecodingKey::from_ec_pem(pem)),
            KeyAlgorithm::RS256 => (Algorithm::RS256, DecodingKey::from_rsa_pem(pem)),
        };
        let key = key.map_err(|source| JwtKeysError::Key { kid: entry.kid.clone(), source })?;
        Ok(Self { tenant: entry.tenant, kid: entry.kid, algorithm, key })
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
    nbf: Option<i64>,
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
        if claims.nbf.is_some_and(|nbf| Timestamp(nbf.saturating_mul(1_000_000)) > now + LEEWAY) {
            return Err(invalid);
        }
        if !is_fit(&claims.sub, IDENTITY_BYTES_MAX) {
            return Err(invalid);
        }
        let role = claims.rollcall.and_then(|claims| claims.role).or(claims.flat_role);
        let role = role.map_or(Ok(Role::guest()), |role| Role::parse(&role)).map_err(|_| invalid)?;
        let name = claims.name.map(|name| readable(&name).into_owned()).filter(|name| is_fit(name, NAME_BYTES_MAX));
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    // Made with `openssl genpkey -algorithm ed25519 | openssl pkey -pubout`; its private half was never kept.
    const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAVAMxdnw4/Ep0LJOerzlipIG/PJspufsRzcT/YXIBj0s=\n-----END PUBLIC KEY-----\n";

    fn load(text: &str) -> Result<Vec<JwtKey>, JwtKeysError> {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(text.as_bytes()).expect("written");
        load_jwt_keys(file.path())
    }

    fn entry(algorithm: &str) -> String {
        format!(
            "[[keys]]\ntenant = \"00000000-0000-0000-0000-000000000001\"\nkid = \"k1\"\nalgorithm = \"{algorithm}\"\n\
             public_key = \"\"\"{PUBLIC_KEY}\"\"\"\n"
        )
    }

    #[test]
    fn only_keys_of_their_algorithm_are_taken() {
        assert_eq!(load(&entry("EdDSA")).map(|keys| keys.len()).ok(), Some(1));
        assert!(matches!(load(&entry("RS256")), Err(JwtKeysError::Key { .. })));
        assert!(matches!(load(&entry("HS256")), Err(JwtKeysError::Parse { .. })), "shared secrets are not configured");
        assert!(matches!(load("keys = 5"), Err(JwtKeysError::Parse { .. })));
        assert!(matches!(load_jwt_keys(Path::new("/nonexistent/keys.toml")), Err(JwtKeysError::Read { .. })));
    }
}
