//! Secrets: API keys, invite tokens, and what is derived from the root key.
//!
//! A secret reads `rck_` or `rci_`, 43 characters base64url (32 random bytes), six characters checksum. The checksum lets
//! a scanner or a typing error be told from a real secret without asking the database; the prefix lets secret scanners
//! find a leaked one. At rest there is only the SHA-256: 256 random bits need no slow hash.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rollcall_core::{InviteId, TenantId};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// Random bytes in a secret.
pub const SECRET_BYTES: usize = 32;
/// Characters of a secret that may be shown again to tell secrets apart: the prefix and the first four random ones.
pub const HINT_CHARACTERS: usize = 8;

const BODY_CHARACTERS: usize = 43;
const CHECKSUM_CHARACTERS: usize = 6;
const PREFIX_CHARACTERS: usize = 4;

/// The text is not a secret of the expected kind: wrong prefix, wrong length or wrong checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secret of the expected kind, or mistyped")]
pub struct SecretError;

/// What the database keeps of a secret.
pub type SecretHash = [u8; 32];

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn from_random(bytes: [u8; SECRET_BYTES]) -> Self {
                Self(seal(Self::PREFIX, bytes))
            }

            /// # Errors
            /// Prefix, length, alphabet or checksum is wrong. The text never occurs in the error.
            pub fn parse(text: &str) -> Result<Self, SecretError> {
                unseal(Self::PREFIX, text).map(|()| Self(SecretString::from(text)))
            }

            /// The secret itself, for the one answer that shows it.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }

            pub fn hash(&self) -> SecretHash {
                Sha256::digest(self.expose().as_bytes()).into()
            }

            /// The part that may be shown in lists.
            pub fn hint(&self) -> &str {
                &self.expose()[..HINT_CHARACTERS]
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(hidden)"))
            }
        }
    };
}

secret!(
    /// The key of an app's backend.
    ApiKey "rck_"
);
secret!(
    /// The token of an invite link.
    InviteToken "rci_"
);

/// The secret of the installation. Everything that must be shown or checked again without being stored comes from it.
pub struct RootKey(SecretString);

impl RootKey {
    /// A key made of random bytes.
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(SecretString::from(hex(&bytes)))
    }

    /// The configuration has checked that the text is long enough to be a secret.
    pub fn from_text(text: &SecretString) -> Self {
        Self(text.clone())
    }

    /// The secret with which a tenant signs join tokens (HS256), as 64 hexadecimal characters. A higher version gives a
    /// new secret and makes every token of the old one worthless.
    pub fn signing_secret(&self, tenant: TenantId, version: i32) -> SecretString {
        let mac = self.derive(b"rollcall jwt", &[tenant.0.as_bytes(), &version.to_be_bytes()]);
        SecretString::from(hex(&mac))
    }

    /// The token of an invite that was created with an Idempotency-Key. A repeated request can be answered with the same
    /// token although no table holds it; the invite's id in it makes the token new when the key is used again later.
    pub fn repeatable_invite_token(&self, tenant: TenantId, idempotency_key: &str, invite: InviteId) -> InviteToken {
        let parts = [tenant.0.as_bytes().as_slice(), invite.0.as_bytes(), idempotency_key.as_bytes()];
        InviteToken::from_random(self.derive(b"rollcall invite token", &parts))
    }

    /// A key for another use of the installation, for example the signature of resume tokens. Different purposes give
    /// unrelated keys.
    pub fn derive(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        // The only error is a wrong key length, and HMAC takes every length.
        let mut mac = match Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes()) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of every length"),
        };
        // Each part carries its length, so that no two lists of parts read the same.
        for part in std::iter::once(purpose).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(hidden)")
    }
}

/// Lower-case hexadecimal text.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn seal(prefix: &str, bytes: [u8; SECRET_BYTES]) -> SecretString {
    let mut text = String::with_capacity(PREFIX_CHARACTERS + BODY_CHARACTERS + CHECKSUM_CHARACTERS);
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    let checksum = checksum(&text);
    text.extend(checksum.iter().map(|byte| char::from(*byte)));
    SecretString::from(text)
}

fn unseal(prefix: &str, text: &str) -> Result<(), SecretError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let length = PREFIX_CHARACTERS + BODY_CHARACTERS + CHECKSUM_CHARACTERS;
    if text.len() != length || !text.starts_with(prefix) || !text.bytes().all(plain) {
        return Err(SecretError);
    }
    let (sealed, found) = text.split_at(PREFIX_CHARACTERS + BODY_CHARACTERS);
    if checksum(sealed) == found.as_bytes() { Ok(()) } else { Err(SecretError) }
}

/// CRC-32 in base 62. It catches accidents, not attackers: whoever can guess 256 bits can compute it too.
fn checksum(text: &str) -> [u8; CHECKSUM_CHARACTERS] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut out = [b'0'; CHECKSUM_CHARACTERS];
    for place in out.iter_mut().rev() {
        *place = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn root_key(text: &str) -> RootKey {
        RootKey::from_text(&SecretString::from(text))
    }

    #[test]
    fn a_secret_survives_its_text_form() {
        let key = ApiKey::from_random([7; 32]);
        assert!(key.expose().starts_with("rck_"));
        assert_eq!(key.expose().len(), 53);
        let again = ApiKey::parse(key.expose()).expect("own text");
        assert_eq!(again.hash(), key.hash());
        assert_eq!(key.hint(), &key.expose()[..8]);
    }

    #[test]
    fn any_single_wrong_character_is_noticed() {
        let token = InviteToken::from_random([42; 32]);
        let text = token.expose();
        for place in 0..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[place] = if wrong[place] == b'x' { b'y' } else { b'x' };
            let wrong = String::from_utf8(wrong).expect("ascii");
            assert!(InviteToken::parse(&wrong).is_err(), "place {place}");
        }
        for bad in ["", "rci_", &text[..52], &format!("{text}0"), "rci_é", &"é".repeat(27)] {
            assert!(InviteToken::parse(bad).is_err(), "{bad}");
        }
        assert!(ApiKey::parse(text).is_err(), "an invite is not a key");
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = ApiKey::from_random([9; 32]);
        let root = root_key("a root key");
        assert_eq!(format!("{key:?} {root:?}"), "ApiKey(hidden) RootKey(hidden)");
    }

    #[test]
    fn derived_secrets_differ_by_every_input() {
        let root = root_key("a root key");
        let (a, b) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let invite = InviteId(Uuid::from_u128(3));
        let secret = |tenant, version| root.signing_secret(tenant, version).expose_secret().to_owned();
        assert_eq!(secret(a, 1), secret(a, 1));
        assert_eq!(secret(a, 1).len(), 64);
        assert_ne!(secret(a, 1), secret(a, 2));
        assert_ne!(secret(a, 1), secret(b, 1));
        let token = |tenant, key, invite| root.repeatable_invite_token(tenant, key, invite).hash();
        assert_eq!(token(a, "k", invite), token(a, "k", invite));
        assert_ne!(token(a, "k", invite), token(b, "k", invite));
        assert_ne!(token(a, "k", invite), token(a, "l", invite));
        assert_ne!(token(a, "k", invite), token(a, "k", InviteId(Uuid::from_u128(4))));
        assert_ne!(root.derive(b"a", &[]), root_key("another").derive(b"a", &[]));
        assert_ne!(root.derive(b"ab", &[b"c"]), root.derive(b"a", &[b"bc"]));
    }
}
