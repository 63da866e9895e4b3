//! Identifiers. Each is its own type, so that a session id cannot be passed where a participant id is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

uuid_id!(
    /// The customer account everything belongs to.
    TenantId
);
uuid_id!(
    /// A room people meet in.
    SessionId
);
uuid_id!(
    /// A link into one session.
    InviteId
);
uuid_id!(
    /// One identity in one session. It exists once, however often it comes back.
    ParticipantId
);

/// One boot of one node. Postgres hands out the number, so it never repeats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub i64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One socket: the epoch it was accepted in and a counter inside that epoch. Text form `12-345`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ConnectionId {
    pub epoch: Epoch,
    pub counter: i64,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.counter)
    }
}

/// The text is not `epoch-counter`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection id has the form epoch-counter, for example 12-345")]
pub struct ConnectionIdError;

impl FromStr for ConnectionId {
    type Err = ConnectionIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, counter) = text.split_once('-').ok_or(ConnectionIdError)?;
        let parse = |part: &str| part.parse::<i64>().ok().filter(|n| *n >= 0).ok_or(ConnectionIdError);
        Ok(Self { epoch: Epoch(parse(epoch)?), counter: parse(counter)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_id_survives_its_text_form() {
        let id = ConnectionId { epoch: Epoch(12), counter: 345 };
        assert_eq!(id.to_string(), "12-345");
        assert_eq!("12-345".parse(), Ok(id));
        for bad in ["", "12", "-1-2", "a-b", "1-2-3"] {
            assert_eq!(bad.parse::<ConnectionId>(), Err(ConnectionIdError), "{bad}");
        }
    }
}
