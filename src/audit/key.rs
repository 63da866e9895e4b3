//! The Ed25519 key that signs checkpoints. It is kept outside the database, because it must not be in the hands of
//! whoever can change the ledger.
//!
//! The file is PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tracing::{info, warn};

use super::AuditError;
use crate::clock::Clock;

/// PKCS#8 of an Ed25519 key up to its 32 secret bytes (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// The type of an Ed25519 key in a signed note.
const NOTE_KEY_TYPE: u8 = 1;

pub struct SigningKey(Ed25519KeyPair);

/// What a verifier needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl SigningKey {
    /// Reads the key, or makes one where the file is missing and may be made.
    ///
    /// # Errors
    /// The file cannot be read, made, or is no Ed25519 key.
    pub fn load(path: &Path, clock: &Clock, may_make: bool) -> Result<Self, AuditError> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let mode = std::fs::metadata(path).map_err(AuditError::file(path))?.permissions().mode();
                if mode & 0o077 != 0 {
                    warn!(path = %path.display(), "others on this computer can read the key of checkpoints");
                }
                Self::from_pem(&text).ok_or_else(|| AuditError::Key {
                    path: path.to_owned(),
                    reason: "it is not an Ed25519 key in PKCS#8 PEM; `openssl genpkey -algorithm ed25519` makes one"
                        .to_owned(),
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_make => {
                let seed: [u8; 32] = clock.random_bytes();
                let body = BASE64_STANDARD.encode([PKCS8_HEAD.as_slice(), &seed].concat());
                let text = format!("{PEM_BEGIN}\n{body}\n{PEM_END}\n");
                write_new(path, &text).map_err(AuditError::file(path))?;
                info!(path = %path.display(), "made a key for checkpoints of the audit trail");
                Self::from_pem(&text)
                    .ok_or_else(|| AuditError::Key { path: path.to_owned(), reason: "it was not accepted".to_owned() })
            }
            Err(error) => Err(AuditError::file(path)(error)),
        }
    }

    fn from_pem(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once(PEM_BEGIN)?;
        let (body, _) = rest.split_once(PEM_END)?;
        let body: String = body.split_whitespace().collect();
        let document = BASE64_STANDARD.decode(body).ok()?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&document).ok().map(Self)
    }

    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    pub fn sign(&self, text: &str) -> Vec<u8> {
        self.0.sign(text.as_bytes()).as_ref().to_vec()
    }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

impl PublicKey {
    /// Reads the 32 bytes in base64, or a verifier key of a signed note (`name+hash+base64`).
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, AuditError> {
        let text = text.trim();
        // A plus sign also occurs in base64: only a verifier key has eight hexadecimal digits between the first two.
        let is_hash = |part: &str| part.len() == 8 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        let body = match text.splitn(3, '+').collect::<Vec<_>>().as_slice() {
            [_, hash, key] if is_hash(hash) => key,
            _ => text,
        };
        let bytes = BASE64_STANDARD.decode(body).unwrap_or_default();
        let key = match bytes.as_slice() {
            [NOTE_KEY_TYPE, key @ ..] if key.len() == 32 => key,
            key => key,
        };
        let key = key.try_into().map_err(|_| {
            AuditError::Malformed("a public key is 32 bytes in base64; `rollcall audit key` prints it".to_owned())
        })?;
        Ok(Self(key))
    }

    pub fn to_base64(self) -> String {
        BASE64_STANDARD.encode(self.0)
    }

    /// The four bytes that name this key beside a signature of this name.
    pub fn note_hash(self, name: &str) -> [u8; 4] {
        let text = [name.as_bytes(), &[b'\n', NOTE_KEY_TYPE], &self.0].concat();
        let hash = rollcall_core::chain::sha256(&text);
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The verifier key for other tools that read signed notes.
    pub fn note_verifier(self, name: &str) -> String {
        let key = BASE64_STANDARD.encode([[NOTE_KEY_TYPE].as_slice(), &self.0].concat());
        format!("{name}+{}+{key}", super::hex(&self.note_hash(name)))
    }

    pub fn verifies(self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(text.as_bytes(), signature).is_ok()
    }
}
