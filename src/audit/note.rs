//! Signed notes: the text form of checkpoints that transparency logs use, so that other tools can read them
//! (C2SP: signed-note and tlog-checkpoint).
//!
//! A note is `origin`, the size of the log, its root in base64, an empty line, and signatures.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rollcall_core::chain::Hash;
use uuid::Uuid;

use super::AuditError;
use super::key::{PublicKey, SigningKey};

const SIGNATURE_MARK: &str = "\u{2014} ";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub log_id: Uuid,
    pub incarnation: i32,
    pub size: i64,
    pub root: Hash,
    pub signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub name: String,
    key_hash: [u8; 4],
    bytes: Vec<u8>,
}

/// What the signatures of a note are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Signed by one of the keys.
    Good,
    /// A signature claims to be of one of the keys, and is not.
    Forged,
    /// No signature is of one of the keys.
    Unknown,
}

impl Note {
    /// A note without signatures.
    pub const fn new(log_id: Uuid, incarnation: i32, size: i64, root: Hash) -> Self {
        Self { log_id, incarnation, size, root, signatures: Vec::new() }
    }

    /// The name of the log. Every incarnation is a log of its own, so that none ever takes back what it signed.
    pub fn origin(&self) -> String {
        format!("rollcall/{}/{}", self.log_id, self.incarnation)
    }

    /// What is signed.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin(), self.size, BASE64_STANDARD.encode(self.root))
    }

    pub fn sign(&mut self, key: &SigningKey) {
        let name = self.origin();
        let key_hash = key.public().note_hash(&name);
        self.signatures.push(Signature { name, key_hash, bytes: key.sign(&self.text()) });
    }

    pub fn trust(&self, keys: &[PublicKey]) -> Trust {
        let mut trust = Trust::Unknown;
        let text = self.text();
        for signature in &self.signatures {
            for key in keys.iter().filter(|key| key.note_hash(&signature.name) == signature.key_hash) {
                if key.verifies(&text, &signature.bytes) {
                    return Trust::Good;
                }
                trust = Trust::Forged;
            }
        }
        trust
    }

    /// # Errors
    /// It is not a note of a Rollcall log.
    pub fn parse(note: &str) -> Result<Self, AuditError> {
        let malformed = |what: &str| AuditError::Malformed(format!("not a checkpoint of Rollcall: {what}"));
        let (text, signatures) = note.split_once("\n\n").ok_or_else(|| malformed("it has no signatures"))?;
        let mut lines = text.lines();
        let origin = lines.next().and_then(|line| line.strip_prefix("rollcall/"));
        let (log_id, incarnation) =
            origin.and_then(|rest| rest.split_once('/')).ok_or_else(|| malformed("its first line names no log"))?;
        let size = lines.next().and_then(|line| line.parse().ok());
        let root = lines.next().and_then(|line| BASE64_STANDARD.decode(line).ok());
        let parsed = Self {
            log_id: log_id.parse().map_err(|_| malformed("its first line names no log"))?,
            incarnation: incarnation.parse().map_err(|_| malformed("its incarnation is no number"))?,
            size: size.ok_or_else(|| malformed("its second line is no size"))?,
            root: root.and_then(|root| root.try_into().ok()).ok_or_else(|| malformed("its third line is no root"))?,
            signatures: signatures
                .lines()
                .map(|line| Signature::parse(line).ok_or_else(|| malformed("a line of it is no signature")))
                .collect::<Result<_, _>>()?,
        };
        // Further lines would be signed as well, and what is checked must be all of it.
        if parsed.text().trim_end() != text {
            return Err(malformed("it has more than the three lines that are expected"));
        }
        Ok(parsed)
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text())?;
        for signature in &self.signatures {
            let bytes = BASE64_STANDARD.encode([signature.key_hash.as_slice(), &signature.bytes].concat());
            writeln!(f, "{SIGNATURE_MARK}{} {bytes}", signature.name)?;
        }
        Ok(())
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, bytes) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
        let bytes = BASE64_STANDARD.decode(bytes).ok()?;
        let (key_hash, bytes) = bytes.split_first_chunk::<4>()?;
        Some(Self { name: name.to_owned(), key_hash: *key_hash, bytes: bytes.to_vec() })
    }
}

/// The notes of a file, one after the other with an empty line between.
///
/// # Errors
/// One of them is no note.
pub fn parse_all(text: &str) -> Result<Vec<Note>, AuditError> {
    let mut notes = Vec::new();
    let mut blocks = text.trim_matches('\n').split("\n\n").filter(|block| !block.is_empty());
    while let Some(text) = blocks.next() {
        let signatures = blocks.next().unwrap_or_default();
        notes.push(Note::parse(&format!("{text}\n\n{signatures}"))?);
    }
    Ok(notes)
}
