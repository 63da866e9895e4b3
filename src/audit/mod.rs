//! Proof that the ledger was not changed, for people who trust neither the server nor its database.
//!
//! Reading order: [`note`] and [`key`] (signed checkpoints), [`checkpointer`] (what the server does every minute),
//! [`folder`] (where checkpoints stand outside the database), [`export`] (the whole trail as lines), [`verifier`] (checks
//! an export or a database), [`proof`] (one event and why it is in the log). docs/AUDIT.md explains the scheme.

pub mod checkpointer;
pub mod export;
pub mod folder;
pub mod key;
pub mod lines;
pub mod note;
pub mod proof;
#[cfg(test)]
mod tests;
pub mod verifier;

use rollcall_core::chain::Hash;

/// Why something that was read is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("{0}")]
    Malformed(String),
    #[error("the key file {path} cannot be used: {reason}")]
    Key { path: std::path::PathBuf, reason: String },
    #[error("{path} cannot be read or written")]
    File { path: std::path::PathBuf, source: std::io::Error },
    #[error("the database cannot be used")]
    Store(#[from] crate::store::StoreError),
    #[error("the export cannot be read or written")]
    Stream(#[from] std::io::Error),
}

impl AuditError {
    fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// # Errors
/// It is not 64 hexadecimal digits.
pub fn hash_from_hex(text: &str) -> Result<Hash, AuditError> {
    let malformed = || AuditError::Malformed(format!("{text:?} is not a hash of 64 hexadecimal digits"));
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(malformed());
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        let digit = |one: u8| char::from(one).to_digit(16);
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(malformed()) };
        *byte = (high * 16 + low) as u8;
    }
    Ok(hash)
}
