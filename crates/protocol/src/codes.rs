//! The public registry of close codes and error codes. docs/ERROR_CODES.md is generated from here.

use serde::{Deserialize, Serialize};

/// What a client should do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Trying again cannot help.
    Never,
    /// Get a fresh token, then come back.
    Refresh,
    /// Come back after `retry_after_ms`.
    Later,
}

/// WebSocket close codes. 40xx: final. 41xx: come back with a fresh token. 42xx: come back after `retry_after_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    Normal = 1000,
    SessionEnded = 4000,
    Kicked = 4001,
    InviteExpired = 4002,
    InviteRevoked = 4003,
    InviteUsedUp = 4004,
    InviteNotYetValid = 4005,
    SessionNotFound = 4006,
    SessionFull = 4007,
    TokenInvalid = 4008,
    ProtocolViolation = 4009,
    Replaced = 4010,
    OriginRefused = 4011,
    TokenExpired = 4100,
    Restarting = 4200,
    LivenessTimeout = 4201,
    SlowConsumer = 4202,
    RateLimited = 4203,
    Overloaded = 4204,
}

impl CloseCode {
    pub const fn number(self) -> u16 {
        self as u16
    }
}

macro_rules! error_codes {
    ($($variant:ident $text:literal $close:expr, $retry:ident, $message:literal, $hint:literal;)+) => {
        /// Every public error code, on the socket and in HTTP problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(ts_rs::TS))]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($variant),+ }

        impl ErrorCode {
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),+];

            /// The public name.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text),+ }
            }

            /// The close code that follows on a socket; `None` where the socket stays open or there is none.
            pub const fn close(self) -> Option<CloseCode> {
                match self { $(ErrorCode::$variant => $close),+ }
            }

            pub const fn retry(self) -> Retry {
                match self { $(ErrorCode::$variant => Retry::$retry),+ }
            }

            /// A sentence that an app may show to a visitor.
            pub const fn message(self) -> &'static str {
                match self { $(ErrorCode::$variant => $message),+ }
            }

            /// What a developer or operator does next.
            pub const fn hint(self) -> &'static str {
                match self { $(ErrorCode::$variant => $hint),+ }
            }
        }
    };
}

use CloseCode as C;

error_codes! {
    SessionEnded "session_ended" Some(C::SessionEnded), Never, "This session has ended.", "Recover the session within the recovery window, or create a new one.";
    Kicked "kicked" Some(C::Kicked), Never, "You have been removed from this session.", "The participant was removed by a host or the API; it cannot come back under the same identity.";
    InviteExpired "invite_expired" Some(C::InviteExpired), Never, "This invite link has expired. Please ask for a new one.", "Create a new invite; `expires_in_s` sets how long it is good.";
    InviteRevoked "invite_revoked" Some(C::InviteRevoked), Never, "This invite link has been withdrawn. Please ask for a new one.", "Create a new invite if the visitor should come in.";
    InviteUsedUp "invite_used_up" Some(C::InviteUsedUp), Never, "This invite link has already been used as often as it may be. Please ask for a new one.", "Create an invite with a higher `max_uses`.";
    InviteNotYetValid "invite_not_yet_valid" Some(C::InviteNotYetValid), Never, "This invite link is not valid yet. Please come back at the agreed time.", "The invite has a `not_before` in the future.";
    SessionNotFound "session_not_found" Some(C::SessionNotFound), Never, "This session does not exist or has ended.", "Check the session id, and that the key belongs to the same tenant.";
    SessionFull "session_full" Some(C::SessionFull), Never, "This session is full.", "Raise `max_participants`, or wait until somebody has left and the grace period is over.";
    TokenInvalid "token_invalid" Some(C::TokenInvalid), Never, "This link or token is not valid.", "Use an invite token, a resume token or a JWT signed with a key of the tenant; check for cut-off characters.";
    JoinRequired "join_required" Some(C::ProtocolViolation), Never, "The connection was closed because it did not join.", "The first frame must be `join`, within the first-frame timeout.";
    MessageTooBig "message_too_big" Some(C::ProtocolViolation), Never, "The connection was closed because a message was too big.", "Keep frames and messages below the limits in docs/PROTOCOL.md.";
    BinaryRefused "binary_refused" Some(C::ProtocolViolation), Never, "The connection was closed because it sent binary data.", "`rollcall.v1` is JSON in text frames.";
    ProtocolViolation "protocol_violation" Some(C::ProtocolViolation), Never, "The connection was closed because it did not follow the protocol.", "Check the frames against docs/PROTOCOL.md.";
    Replaced "replaced" Some(C::Replaced), Never, "You continued in another window or on another device.", "The same client came back on a new socket, or the participant had too many open; do not reconnect this one.";
    OriginRefused "origin_refused" Some(C::OriginRefused), Never, "This website may not open this session.", "Add the page's origin to `ws.origins`.";
    TokenExpired "token_expired" Some(C::TokenExpired), Refresh, "Your access has expired. Please sign in again.", "Mint a fresh token and join again.";
    Restarting "restarting" Some(C::Restarting), Later, "The server is restarting. You will be reconnected in a moment.", "Reconnect with the resume token after `retry_after_ms`.";
    LivenessTimeout "liveness_timeout" Some(C::LivenessTimeout), Later, "The connection was lost.", "Send a ping every `ping_interval_ms`.";
    SlowConsumer "slow_consumer" Some(C::SlowConsumer), Later, "The connection was too slow.", "Read frames as they come; on return the join brings a full snapshot.";
    RateLimited "rate_limited" Some(C::RateLimited), Later, "Too many requests. Please wait a moment.", "Slow down and wait for `retry_after_ms` or `Retry-After`.";
    Overloaded "overloaded" Some(C::Overloaded), Later, "The server cannot take anybody in right now. Please try again shortly.", "The server or its ledger is at a limit; see /readyz and docs/OPERATIONS.md.";
    MalformedFrame "malformed_frame" None, Never, "A message could not be understood.", "Send one JSON object per text frame with a text field `type`.";
    UnknownType "unknown_type" None, Never, "A message could not be understood.", "See docs/PROTOCOL.md for the types a client may send.";
    AlreadyJoined "already_joined" None, Never, "You are already in this session.", "One session per socket: open another socket to join again.";
    StateTooLarge "state_too_large" None, Never, "The update was too large.", "Keep `state` below the limit in docs/PROTOCOL.md.";
    Forbidden "forbidden" None, Never, "You are not allowed to do this.", "The role or the key's scopes do not permit it.";
    ParticipantNotFound "participant_not_found" None, Never, "This participant is not here.", "Check the participant id; it must be present in this session.";
    Unauthorized "unauthorized" None, Never, "The request is not authorized.", "Send `Authorization: Bearer <api key>` with a key that is not revoked.";
    NotFound "not_found" None, Never, "There is nothing here.", "Check the path and the id, and that the key belongs to the same tenant.";
    MethodNotAllowed "method_not_allowed" None, Never, "This is not possible here.", "See /docs for the methods of this path.";
    InvalidRequest "invalid_request" None, Never, "The request is not valid.", "Correct the fields named in `errors`.";
    UnsupportedMediaType "unsupported_media_type" None, Never, "The request is not valid.", "Send `Content-Type: application/json`.";
    PayloadTooLarge "payload_too_large" None, Never, "The request is too large.", "Keep the body below the limit named in the detail.";
    Conflict "conflict" None, Never, "This does not fit the present state.", "Read the object again and decide anew.";
    SessionNotEnded "session_not_ended" None, Never, "This session has not ended.", "Only an ended session can be recovered.";
    RecoveryWindowOver "recovery_window_over" None, Never, "This session ended too long ago to be brought back.", "Create a new session; `sessions.recover_window_h` sets the window.";
    IdempotencyKeyReused "idempotency_key_reused" None, Never, "The request is not valid.", "Use a new Idempotency-Key for a different request.";
    RequestInProgress "request_in_progress" None, Later, "The same request is still being worked on.", "Repeat it with the same Idempotency-Key in a moment.";
    DatabaseUnavailable "database_unavailable" None, Later, "The service is not available right now. Please try again shortly.", "Postgres cannot be reached; those inside a session are still served. See /readyz.";
    Internal "internal" None, Later, "Something went wrong on our side.", "Quote the request_id to the operator.";
}

/// The whole text of docs/ERROR_CODES.md.
pub fn error_codes_markdown() -> String {
    let mut text = String::from(
        "# Error codes\n\nGenerated from `crates/protocol/src/codes.rs`; a test fails when this page is stale.\n\n\
         On a socket an `error` frame carries `code`, `message`, `retry` and perhaps `retry_after_ms`; where a close code is \
         named, the socket is closed with it right after. Over HTTP the same codes stand in `code` of an \
         `application/problem+json` body. `message` may be shown to a visitor; the hint is for the developer.\n\n\
         Close codes tell a client what to do: **40xx** final, do not reconnect · **41xx** get a fresh token · **42xx** come \
         back after `retry_after_ms` · 1000 normal.\n\n\
         | code | close | retry | message | hint |\n|---|---|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let close = code.close().map_or_else(|| "–".to_owned(), |close| close.number().to_string());
        let retry = match code.retry() {
            Retry::Never => "never",
            Retry::Refresh => "refresh",
            Retry::Later => "later",
        };
        text.push_str(&format!("| `{}` | {close} | {retry} | {} | {} |\n", code.as_str(), code.message(), code.hint()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serialised_names_and_unique() {
        let mut seen = std::collections::HashSet::new();
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_string(code).ok(), Some(format!("\"{}\"", code.as_str())));
            assert!(seen.insert(code.as_str()));
        }
    }

    #[test]
    fn close_code_ranges_agree_with_the_advice() {
        for code in ErrorCode::ALL {
            if let Some(close) = code.close() {
                let expected = match close.number() / 100 {
                    40 => Retry::Never,
                    41 => Retry::Refresh,
                    _ => Retry::Later,
                };
                assert_eq!(code.retry(), expected, "{}", code.as_str());
            }
        }
    }

    #[test]
    fn error_codes_page_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ERROR_CODES.md");
        let expected = error_codes_markdown();
        if std::env::var_os("ROLLCALL_UPDATE").is_some() {
            std::fs::write(path, &expected).expect("docs/ERROR_CODES.md is writable");
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == expected, "docs/ERROR_CODES.md is stale: run the tests with ROLLCALL_UPDATE=1");
    }
}
