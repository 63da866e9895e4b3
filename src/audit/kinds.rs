//! Every kind of event in the trail, with the fields of its metadata. docs/AUDIT.md is generated from it; tests compare it
//! with what the server and the SQL functions write.

use std::fmt::Write;

/// Where events of a kind are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Presence and timers: the epoch of the node.
    Node,
    /// The control plane and SQL: epoch 0.
    Control,
    Both,
}

#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub origin: Origin,
    /// What it says; `occurred_at` is the instant of this.
    pub meaning: &'static str,
    /// Name and meaning of each field of the metadata. A field that does not apply is left out.
    pub fields: &'static [(&'static str, &'static str)],
}

macro_rules! kinds {
    ($($name:literal $origin:ident $meaning:literal { $($field:literal $what:literal),* $(,)? })+) => {
        &[$(Kind { name: $name, origin: Origin::$origin, meaning: $meaning, fields: &[$(($field, $what)),*] }),+]
    };
}

/// In the order of a session's life.
pub const KINDS: &[Kind] = kinds! {
    "tenant_created" Control "a tenant was made" {}
    "key_created" Control "an API key was made" { "key_id" "its id", "scopes" "what it may do" }
    "key_revoked" Control "an API key was revoked" { "key_id" "its id" }
    "session_created" Control "a session was made" {
        "external_id" "the app's own name for it", "idle_timeout_s" "its idle time",
        "max_duration_s" "its longest duration", "max_participants" "its places",
    }
    "session_updated" Control "settings of a session were changed" { "changed" "names of the settings" }
    "session_extended" Control "the end of a session was moved" { "by_s" "by how much", "ends_at" "not idle before" }
    "invite_created" Control "an invite was made" {
        "invite_id" "its id", "role" "the role it gives", "not_before" "good from", "expires_at" "good until",
        "max_uses" "how many people it lets in",
    }
    "invite_revoked" Control "an invite was revoked" { "invite_id" "its id" }
    "invite_expired" Node "an invite ran out" { "invite_id" "its id" }
    "session_started" Node "the first participant ever is in" {}
    "participant_joined" Node "a participant appeared, for the first time or after it had left" {
        "role" "its role", "invite_id" "the invite it came by",
        "identity_verified" "whether the token fixed the identity",
    }
    "connection_opened" Node "a connection (tab, device) began: the start of a span" {
        "role" "its role", "invite_id" "the invite it came by", "resumed_from" "the connection it continues",
    }
    "presence_changed" Node "others see another status" { "status" "active, away or reconnecting" }
    "state_updated" Node "the app's state of a participant changed; the state itself is not in the trail" {
        "bytes" "its size", "refused" "why it could not be stored",
    }
    "connection_closed" Node "the last proof of a connection: the end of a span" {
        "reason" "why", "connected_at" "its start", "duration_us" "its metered time",
        "uncertainty_us" "how much longer it may have been there",
    }
    "connection_close_amended" Node "a client that came back after a crash proved a later end of its old connection" {
        "uncertainty_us" "how much longer it may have been there",
    }
    "participant_left" Node "a participant is gone for the others" { "reason" "why" }
    "participant_barred" Control "a participant that was away may not come back" {}
    "session_warned" Node "a warning of the coming end went out" { "cause" "which end", "ends_at" "when" }
    "session_ended" Both "a session ended: the deadline that passed, or the instant of the request" {
        "reason" "completed, idle, max_duration or abandoned", "note" "free text of whoever ended it",
        "source" "cleanup, when no node had it in memory", "spans_closed" "connections the clean-up closed",
    }
    "session_end_superseded" Node "a timer's end met a session that had ended already; the first end counts" {
        "reason" "of the later end",
    }
    "session_recovered" Control "an ended session is active again" {
        "ended_at" "when it had ended", "end_reason" "why it had", "gap_us" "the gap, which is nobody's time",
    }
    "participant_erased" Control "the personal data of a participant was erased" {}
};

/// The names that an app may log besides `app.<name>`; their metadata is the app's own.
pub const APP_KINDS: &[&str] = &[
    "note",
    "consent_given",
    "consent_withdrawn",
    "recording_started",
    "recording_stopped",
    "dispute_opened",
    "dispute_resolved",
];

/// The table of docs/AUDIT.md.
pub fn table() -> String {
    let mut text = String::from("| event type | numbered in | it says | metadata |\n|---|---|---|---|\n");
    for kind in KINDS {
        let origin = match kind.origin {
            Origin::Node => "node epoch",
            Origin::Control => "epoch 0",
            Origin::Both => "either",
        };
        let field = |(name, what): &(&str, &str)| format!("`{name}` {what}");
        let fields = kind.fields.iter().map(field).collect::<Vec<_>>().join("; ");
        // Writing to a String cannot fail.
        writeln!(text, "| `{}` | {origin} | {} | {fields} |", kind.name, kind.meaning).unwrap_or_default();
    }
    let names = APP_KINDS.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    writeln!(
        text,
        "| `app.<name>`, {names} | epoch 0 | what the app logs with `log_session_event()` | the app's own |"
    )
    .unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::store::ledger::apply_batch;
    use crate::store::tests::history::History;
    use crate::store::tests::{LEASE, database, fresh_id, make_session, make_tenant, now, value};

    const BEGIN: &str = "<!-- kinds: generated, ROLLCALL_UPDATE=1 cargo test audit::kinds -->\n";
    const END: &str = "<!-- end of kinds -->";

    fn fields_of(name: &str) -> BTreeSet<&'static str> {
        let kind = KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("{name} is not in the list"));
        kind.fields.iter().map(|(field, _)| *field).collect()
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn the_document_has_this_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/AUDIT.md");
        let text = std::fs::read_to_string(&path).expect("docs/AUDIT.md");
        let (head, rest) = text.split_once(BEGIN).expect("the beginning of the table");
        let (written, tail) = rest.split_once(END).expect("the end of the table");
        if std::env::var_os("ROLLCALL_UPDATE").is_some() {
            std::fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", table())).expect("written");
        } else {
            assert_eq!(
                written,
                table(),
                "docs/AUDIT.md is stale: ROLLCALL_UPDATE=1 cargo test -p rollcall audit::kinds"
            );
        }
    }

    #[tokio::test]
    async fn the_ledger_writes_these_fields_and_no_others() {
        let store = database().await;
        let tenant = make_tenant(&store).await;
        let session = make_session(&store, tenant, fresh_id(), now()).await;
        let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
        let mut history = History::new(tenant, vec![session], epoch, now());
        for choice in 0..400 {
            history.step(choice * 7_919);
        }
        let mut conn = store.dedicated().await.expect("connection");
        apply_batch(&mut conn, epoch, 1, &history.records, LEASE).await.expect("applies");
        let pairs = value(
            &store,
            "select string_agg(distinct event_type || ' ' || k, ',')
             from rollcall.session_audit_log, jsonb_object_keys(metadata) k",
        )
        .await;
        for pair in pairs.split(',') {
            let (name, field) = pair.split_once(' ').expect("a pair");
            assert!(fields_of(name).contains(field), "{name} has a field {field} that is not in the list");
        }
    }

    /// The SQL function refuses every type that it does not name: its list is the list of the control plane.
    #[tokio::test]
    async fn sql_takes_the_kinds_of_the_control_plane_and_no_others() {
        let store = database().await;
        let tenant = make_tenant(&store).await;
        let names = KINDS.iter().map(|kind| (kind.name, kind.origin != Origin::Node));
        let names = names.chain(APP_KINDS.iter().map(|name| (*name, true))).chain([("app.x", true), ("other", false)]);
        for (name, taken) in names {
            let mut tx = store.begin().await.expect("begins");
            let logged = sqlx::query("select rollcall.log_control_event($1, null, null, $2, 'operator')")
                .bind(tenant.0)
                .bind(name)
                .execute(&mut *tx)
                .await;
            assert_eq!(logged.is_ok(), taken, "{name}");
        }
    }

    /// In the sources: whoever adds an event to the control plane adds it here.
    #[test]
    fn every_event_of_the_control_plane_is_in_the_list() {
        fn visit(folder: &Path, names: &mut BTreeSet<String>) {
            for entry in std::fs::read_dir(folder).expect("sources").filter_map(Result::ok) {
                let path = entry.path();
                if path.is_dir() {
                    visit(&path, names);
                } else if let Ok(text) = std::fs::read_to_string(&path) {
                    for rest in text.split("event_type: \"").skip(1) {
                        names.insert(rest.split('"').next().unwrap_or_default().to_owned());
                    }
                }
            }
        }
        let mut names = BTreeSet::new();
        visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control"), &mut names);
        assert!(names.len() > 5, "{names:?}");
        for name in names {
            fields_of(&name);
        }
    }
}
