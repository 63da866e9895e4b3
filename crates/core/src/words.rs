//! The closed vocabularies of the ledger. Their text forms are public: SQL, wire and docs use the same words.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The public text form.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text { $($text => Ok($name::$variant),)+ _ => Err(UnknownWord) }
            }
        }
    };
}

/// The text is none of the words of this vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown word")]
pub struct UnknownWord;

words!(
    /// What other people see of a participant.
    Status {
        /// Here, and the person was active lately.
        Active => "active",
        /// Here, but hidden or inactive.
        Away => "away",
        /// No connection at the moment; the grace period runs.
        Reconnecting => "reconnecting",
    }
);

words!(
    /// Why a span ended or a participant left.
    LeaveReason {
        /// The client said `leave`.
        Left => "left",
        /// The socket was closed by the peer.
        Closed => "closed",
        LivenessTimeout => "liveness_timeout",
        Kicked => "kicked",
        SessionEnded => "session_ended",
        InviteRevoked => "invite_revoked",
        TokenExpired => "token_expired",
        /// The same client came back on a new socket, or the participant had too many.
        Replaced => "replaced",
        SlowConsumer => "slow_consumer",
        ServerDrain => "server_drain",
        NodeCrash => "node_crash",
    }
);

words!(
    /// Why a session ended.
    SessionEndReason {
        /// Ended by the app or a host.
        Completed => "completed",
        /// Nobody was active for the idle timeout.
        Idle => "idle",
        MaxDuration => "max_duration",
        /// Nobody ever joined.
        Abandoned => "abandoned",
    }
);

words!(
    /// Which deadline a warning is about.
    WarningCause {
        Idle => "idle",
        MaxDuration => "max_duration",
    }
);

/// What a participant may do. `host` may end, extend and kick; every other name is the app's own and has no extra rights.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Role(Arc<str>);

impl Role {
    /// Longest role name in bytes.
    pub const BYTES_MAX: usize = 32;

    /// # Errors
    /// The name is empty, longer than [`Role::BYTES_MAX`], or has characters other than `a-z 0-9 _ -`.
    pub fn parse(text: &str) -> Result<Self, RoleError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
        if text.is_empty() || text.len() > Self::BYTES_MAX || !text.bytes().all(plain) {
            return Err(RoleError);
        }
        Ok(Self(text.into()))
    }

    pub fn host() -> Self {
        Self("host".into())
    }

    pub fn guest() -> Self {
        Self("guest".into())
    }

    pub fn is_host(&self) -> bool {
        &*self.0 == "host"
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role has 1 to 32 characters out of a-z, 0-9, _ and -")]
pub struct RoleError;

impl TryFrom<String> for Role {
    type Error = RoleError;
    fn try_from(text: String) -> Result<Self, RoleError> {
        Self::parse(&text)
    }
}

impl From<Role> for String {
    fn from(role: Role) -> String {
        role.0.as_ref().to_owned()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who caused a change, as the audit trail names it. Never a secret: keys appear by id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A timer of the server.
    Server,
    /// The app's backend, by the public id of its API key.
    ApiKey(String),
    /// A participant of the session, as host.
    Participant(crate::ids::ParticipantId),
    /// Somebody at the command line or in SQL.
    Operator,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_their_text_form() {
        for reason in LeaveReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
            assert_eq!(serde_name(reason), reason.as_str());
        }
        for reason in SessionEndReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert_eq!("nonsense".parse::<LeaveReason>(), Err(UnknownWord));
    }

    fn serde_name(reason: &LeaveReason) -> String {
        format!("{reason:?}").chars().enumerate().fold(String::new(), |mut out, (i, c)| {
            if c.is_uppercase() && i > 0 {
                out.push('_');
            }
            out.extend(c.to_lowercase());
            out
        })
    }

    #[test]
    fn roles_are_plain_names() {
        assert!(Role::parse("host").is_ok_and(|role| role.is_host()));
        assert!(Role::parse("co-teacher_2").is_ok());
        for bad in ["", "Host", "a b", "é", &"x".repeat(33)] {
            assert_eq!(Role::parse(bad), Err(RoleError), "{bad}");
        }
    }
}
