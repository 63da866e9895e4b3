//! Core ↔ wire. Inbound may fail, outbound may not.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rollcall_core::{CloseReason, Event, Joined, LeaveReason, ParticipantView, Timestamp, WarningCause};
use rollcall_protocol::server::{ErrorMessage, JoinedMessage, Leave, OwnInfo, Participant, ServerMessage, SessionInfo};
use rollcall_protocol::{CloseCode, ErrorCode, Retry};
use serde_json::value::RawValue;

/// The pause that clients are told to make before they come back, where nothing more precise is known.
pub(super) const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// What a `joined` frame says beyond the event.
pub(super) struct JoinedExtras<'a> {
    pub(super) resume: &'a str,
    pub(super) ping_interval: Duration,
    pub(super) durability: &'static str,
    pub(super) server_time: Timestamp,
}

pub(super) fn encode_joined(joined: &Joined, extras: &JoinedExtras<'_>) -> Bytes {
    let message = JoinedMessage {
        session: SessionInfo {
            id: joined.session.session.to_string(),
            title: joined.session.title.as_deref(),
            created_at: rfc3339(joined.session.created_at),
            ends_at: rfc3339(joined.session.ends_at),
        },
        own: OwnInfo {
            participant_id: joined.participant.to_string(),
            connection_id: joined.connection.to_string(),
            identity: &joined.identity,
            role: joined.role.as_str(),
        },
        resume: extras.resume,
        ping_interval_ms: extras.ping_interval.as_millis() as u64,
        seq: joined.snapshot.seq,
        participants: participants(&joined.snapshot.participants),
        durability: extras.durability,
        server_time: rfc3339(extras.server_time),
    };
    encode(&ServerMessage::Joined(message))
}

/// Every event but `joined`, which needs [`JoinedExtras`].
pub(super) fn encode_event(event: &Event) -> Bytes {
    let message = match event {
        Event::Joined(joined) => ServerMessage::Snapshot {
            seq: joined.snapshot.seq,
            participants: participants(&joined.snapshot.participants),
        },
        Event::Snapshot(snapshot) => {
            ServerMessage::Snapshot { seq: snapshot.seq, participants: participants(&snapshot.participants) }
        }
        Event::Presence(diff) => ServerMessage::Presence {
            seq: diff.seq,
            joins: participants(&diff.joins),
            updates: participants(&diff.updates),
            leaves: diff.leaves.iter().map(leave).collect(),
        },
        Event::Warning { cause, ends_at, in_time } => ServerMessage::Warning {
            code: warning_code(*cause),
            ends_at: rfc3339(*ends_at),
            in_ms: in_time.as_millis() as u64,
            message: warning_text(*cause, *in_time),
        },
        Event::Extended { ends_at } => ServerMessage::Extended { ends_at: rfc3339(*ends_at) },
        Event::Ended { reason } => {
            let message = ended_text(*reason).into();
            let hint = ErrorCode::SessionEnded.hint();
            ServerMessage::Ended { code: reason.as_str(), message, hint, recoverable: true }
        }
    };
    encode(&message)
}

pub(super) fn encode_error(code: ErrorCode, detail: Option<&str>, retry_after: Option<Duration>) -> Bytes {
    let message = detail.map_or(code.message().into(), |detail| format!("{} ({detail})", code.message()).into());
    let retry_after = retry_after.or((code.retry() == Retry::Later).then_some(RETRY_AFTER_DEFAULT));
    let retry_after_ms = retry_after.map(|after| after.as_millis() as u64);
    encode(&ServerMessage::Error(ErrorMessage {
        code,
        message,
        hint: code.hint(),
        retry: code.retry(),
        retry_after_ms,
    }))
}

/// Writes a pong without allocating: ids were checked to be a JSON scalar when the ping was read.
pub(super) fn encode_pong(buffer: &mut impl BufMut, id: Option<&RawValue>, now: Timestamp) {
    buffer.put_slice(br#"{"type":"pong","#);
    if let Some(id) = id {
        buffer.put_slice(br#""id":"#);
        buffer.put_slice(id.get().as_bytes());
        buffer.put_u8(b',');
    }
    buffer.put_slice(br#""server_time":""#);
    put_rfc3339(buffer, now);
    buffer.put_slice(br#""}"#);
}

pub(super) fn close_code(reason: CloseReason) -> ErrorCode {
    match reason {
        CloseReason::SessionEnded => ErrorCode::SessionEnded,
        CloseReason::Kicked => ErrorCode::Kicked,
        CloseReason::InviteRevoked => ErrorCode::InviteRevoked,
        CloseReason::Replaced => ErrorCode::Replaced,
        CloseReason::TokenExpired => ErrorCode::TokenExpired,
        CloseReason::Restarting => ErrorCode::Restarting,
    }
}

/// The close that follows an error on a socket, where one does.
pub(super) fn close_of(code: ErrorCode) -> CloseCode {
    let without_own = if code.retry() == Retry::Later { CloseCode::Overloaded } else { CloseCode::ProtocolViolation };
    code.close().unwrap_or(without_own)
}

/// Microseconds as RFC 3339 in UTC.
pub(super) fn rfc3339(at: Timestamp) -> String {
    let mut buffer = BytesMut::with_capacity(RFC3339_BYTES);
    put_rfc3339(&mut buffer, at);
    String::from_utf8_lossy(&buffer).into_owned()
}

const RFC3339_BYTES: usize = 27;

fn put_rfc3339(buffer: &mut impl BufMut, at: Timestamp) {
    let seconds = at.0.div_euclid(1_000_000);
    let micros = at.0.rem_euclid(1_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    put_digits(buffer, year, 4);
    buffer.put_u8(b'-');
    put_digits(buffer, month, 2);
    buffer.put_u8(b'-');
    put_digits(buffer, day, 2);
    buffer.put_u8(b'T');
    put_digits(buffer, second / 3_600, 2);
    buffer.put_u8(b':');
    put_digits(buffer, second / 60 % 60, 2);
    buffer.put_u8(b':');
    put_digits(buffer, second % 60, 2);
    buffer.put_u8(b'.');
    put_digits(buffer, micros, 6);
    buffer.put_u8(b'Z');
}

/// The last digits of a number, six at most.
fn put_digits(buffer: &mut impl BufMut, mut number: i64, width: usize) {
    let mut digits = [b'0'; 6];
    for digit in digits[..width].iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    buffer.put_slice(&digits[..width]);
}

/// Days since 1970-01-01 to a date of the Gregorian calendar. The year is counted from March, so that the leap day is
/// its last one and all months before it have fixed offsets.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    const DAYS_TO_0000_03_01: i64 = 719_468;
    const DAYS_PER_400_YEARS: i64 = 146_097;
    let days = days + DAYS_TO_0000_03_01;
    let cycle = days.div_euclid(DAYS_PER_400_YEARS);
    let day_of_cycle = days.rem_euclid(DAYS_PER_400_YEARS);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn encode(message: &ServerMessage<'_>) -> Bytes {
    // Our own messages have text keys and finite numbers only; they cannot fail to encode.
    serde_json::to_vec(message).expect("a server message is plain data").into()
}

fn participants(views: &[ParticipantView]) -> Vec<Participant<'_>> {
    views.iter().map(participant).collect()
}

fn participant(view: &ParticipantView) -> Participant<'_> {
    Participant {
        participant_id: view.participant.to_string(),
        identity: &view.identity,
        verified: view.verified,
        name: view.name.as_deref(),
        role: view.role.as_str(),
        status: view.status.as_str(),
        // It was valid JSON when it came in.
        state: view.state.as_deref().and_then(|state| serde_json::from_str(state).ok()),
        connections: view.connections,
        joined_at: rfc3339(view.joined_at),
        last_seen_at: rfc3339(view.last_seen_at),
    }
}

fn leave((participant, reason): &(rollcall_core::ParticipantId, LeaveReason)) -> Leave {
    Leave { participant_id: participant.to_string(), reason: reason.as_str() }
}

fn warning_code(cause: WarningCause) -> &'static str {
    match cause {
        WarningCause::Idle => "session_idle",
        WarningCause::MaxDuration => "session_max_duration",
    }
}

fn warning_text(cause: WarningCause, in_time: Duration) -> String {
    // Rounded up: "in 0 seconds" helps nobody.
    let in_words = match in_time.as_millis().div_ceil(1_000).max(1) {
        1 => "1 second".to_owned(),
        seconds @ 2..120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds.div_ceil(60)),
    };
    match cause {
        WarningCause::Idle => format!("This session ends in {in_words} unless somebody is active."),
        WarningCause::MaxDuration => format!("This session ends in {in_words}."),
    }
}

fn ended_text(reason: rollcall_core::SessionEndReason) -> &'static str {
    use rollcall_core::SessionEndReason as R;
    match reason {
        R::Completed => "This session has ended.",
        R::Idle => "This session has ended because nobody was active.",
        R::MaxDuration => "This session has ended because its time is over.",
        R::Abandoned => "This session has ended because nobody came.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for micros in [0, 1, 951_782_400_000_000, 1_709_164_799_999_999, 4_102_444_800_000_000, -1] {
            let at = chrono::DateTime::from_timestamp_micros(micros).expect("in range");
            let expected = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
            assert_eq!(rfc3339(Timestamp(micros)), expected);
        }
        for day in 0..40_000 {
            let at = chrono::DateTime::from_timestamp(day * 86_400 + 43_200, 0).expect("in range");
            let expected = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
            assert_eq!(rfc3339(Timestamp(at.timestamp_micros())), expected);
        }
    }

    #[test]
    fn a_pong_is_json_and_echoes_the_id() {
        for id in [Some(r#""a\"b""#), Some("-7.5"), None] {
            let raw: Option<&RawValue> = id.map(|id| serde_json::from_str(id).expect("raw"));
            let mut pong = Vec::new();
            encode_pong(&mut pong, raw, Timestamp(1_000_001));
            let value: serde_json::Value = serde_json::from_slice(&pong).expect("JSON");
            assert_eq!(value["type"], "pong");
            assert_eq!(value["server_time"], "1970-01-01T00:00:01.000001Z");
            assert_eq!(value.get("id").map(ToString::to_string).as_deref(), id);
        }
    }

    #[test]
    fn warnings_are_sentences() {
        assert_eq!(
            warning_text(WarningCause::Idle, Duration::from_secs(300)),
            "This session ends in 5 minutes unless somebody is active."
        );
        assert_eq!(
            warning_text(WarningCause::MaxDuration, Duration::from_secs(60)),
            "This session ends in 60 seconds."
        );
    }
}
