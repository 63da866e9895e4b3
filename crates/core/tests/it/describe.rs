//! The compact text of facts, events and views that scripts print and histories compare.

use rollcall_core::{Actor, ConnectionId, Event, ParticipantId, ParticipantView, SessionFact, Snapshot, Timestamp};

pub fn describe_fact(fact: &SessionFact, at: Timestamp) -> String {
    let kind = fact.event_type();
    match fact {
        SessionFact::SessionStarted => kind.to_owned(),
        SessionFact::SessionEnded { reason, by } => format!("{kind} {reason} by {}", describe_actor(by)),
        SessionFact::SessionWarned { cause, ends_at } => format!("{kind} {cause} ends {}", seconds(*ends_at)),
        SessionFact::ParticipantJoined { participant, role, .. } => {
            format!("{kind} {} {role}", participant_name(*participant))
        }
        SessionFact::ConnectionOpened { connection, resumed, .. } => {
            let resumed = resumed.map_or(String::new(), |old| format!(" resumed {}", connection_name(old)));
            format!("{kind} {}{resumed}", connection_name(*connection))
        }
        SessionFact::ConnectionClosed { connection, connected_at, reason, uncertainty_us, .. } => {
            let span = format!("[{}, {})", seconds(*connected_at), seconds(at));
            format!("{kind} {} {span} {reason}{}", connection_name(*connection), unsure(*uncertainty_us))
        }
        SessionFact::ConnectionCloseAmended { connection, uncertainty_us, .. } => {
            format!("{kind} {}{}", connection_name(*connection), unsure(*uncertainty_us))
        }
        SessionFact::PresenceChanged { participant, status } => {
            format!("{kind} {} {status}", participant_name(*participant))
        }
        SessionFact::ParticipantLeft { participant, reason, by } => {
            format!("{kind} {} {reason} by {}", participant_name(*participant), describe_actor(by))
        }
        SessionFact::StateUpdated { participant, state } => {
            format!("{kind} {} {state}", participant_name(*participant))
        }
        SessionFact::InviteExpired { .. } => kind.to_owned(),
    }
}

pub fn describe_event(event: &Event) -> String {
    match event {
        Event::Joined(joined) => {
            format!("joined as {} {}", joined.role, describe_snapshot(&joined.snapshot))
        }
        Event::Presence(diff) => {
            let views = |sign: char, views: &[ParticipantView]| {
                views.iter().map(|view| format!(" {sign}{}", describe_view(view))).collect::<String>()
            };
            let leaves = diff.leaves.iter().map(|(id, reason)| format!(" -{}({reason})", participant_name(*id)));
            let leaves: String = leaves.collect();
            format!("presence {}:{}{}{leaves}", diff.seq, views('+', &diff.joins), views('~', &diff.updates))
        }
        Event::Snapshot(snapshot) => format!("snapshot {}", describe_snapshot(snapshot)),
        Event::Warning { cause, ends_at, in_time } => {
            format!("warning {cause} ends {} in {}s", seconds(*ends_at), in_time.as_secs_f64())
        }
        Event::Extended { ends_at } => format!("extended ends {}", seconds(*ends_at)),
        Event::Ended { reason } => format!("ended {reason}"),
    }
}

pub fn describe_snapshot(snapshot: &Snapshot) -> String {
    let views: Vec<_> = snapshot.participants.iter().map(describe_view).collect();
    format!("{}:[{}]", snapshot.seq, views.join(" "))
}

fn describe_view(view: &ParticipantView) -> String {
    let state = view.state.as_ref().map_or(String::new(), |state| format!(" {state}"));
    format!("{}({} x{}{state})", participant_name(view.participant), view.status, view.connections)
}

fn describe_actor(actor: &Actor) -> String {
    match actor {
        Actor::Server => "server".to_owned(),
        Actor::ApiKey(key) => format!("key:{key}"),
        Actor::Participant(id) => participant_name(*id),
        Actor::Operator => "operator".to_owned(),
    }
}

fn unsure(uncertainty_us: i64) -> String {
    if uncertainty_us == 0 { String::new() } else { format!(" unsure {}", seconds(Timestamp(uncertainty_us))) }
}

pub fn seconds(at: Timestamp) -> String {
    if at == Timestamp::NEVER { "never".to_owned() } else { format!("{}s", at.0 as f64 / 1e6) }
}

pub fn connection_name(connection: ConnectionId) -> String {
    let letter = char::from(u8::try_from(connection.counter / 100).expect("a letter"));
    match connection.counter % 100 {
        1 => letter.to_string(),
        number => format!("{letter}{number}"),
    }
}

fn participant_name(id: ParticipantId) -> String {
    char::from(u8::try_from(id.0.as_u128()).expect("a letter")).to_string()
}
