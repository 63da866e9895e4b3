//! What was decided elsewhere: all of it at the start ([`load`]), then what changes.
//!
//! Follows the control plane's own sequence (epoch 0), so that this node learns of what was decided elsewhere: at the
//! command line, in SQL, by the clean-up, one day by other nodes. What this node decided itself comes by here too and
//! changes nothing the second time.

use std::time::Duration;

use rollcall_core::{Actor, Command, SessionId, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::hub::Hub;
use crate::store::changes::Change;
use crate::store::{LiveStore, LoadedSession, StoreError};

/// How often the sequence is looked at. An end decided elsewhere must reach everybody within a second.
const POLL_INTERVAL: Duration = Duration::from_millis(400);

/// Changes read at once.
const CHANGES_MAX: i64 = 500;

/// Sessions and invites read at once while the live state is loaded.
const LOAD_PAGE_ROWS: i64 = 1_000;

/// Invites that expired longer ago are not loaded; their visitors are told by way of the database.
const INVITES_KEPT_EXPIRED: Duration = Duration::from_secs(24 * 3600);

/// Every session that is active, with the people that were in it when the server stopped, and every invite that may
/// still be shown to us.
///
/// # Errors
/// The database is away.
pub async fn load(hub: &Hub, store: &impl LiveStore, attested_until: Option<Timestamp>) -> Result<(), StoreError> {
    let mut after: Option<SessionId> = None;
    loop {
        let page = store.load_active_sessions(after, LOAD_PAGE_ROWS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.spec.session);
        for loaded in page {
            if let Err(error) = hub.adopt(loaded) {
                warn!(error = &error as &dyn std::error::Error, "not every active session fits into memory");
            }
        }
    }
    // Without an earlier run nothing that has expired is waiting to be recorded.
    let settled_until = attested_until.unwrap_or(hub.clock().now());
    let mut after = None;
    loop {
        let page = store.load_live_invites(after, hub.clock().now() - INVITES_KEPT_EXPIRED, LOAD_PAGE_ROWS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.invite);
        for invite in page {
            hub.remember_invite(invite.into(), settled_until);
        }
    }
    info!(sessions = hub.sessions_live(), invites = hub.invites().len(), "live state loaded");
    Ok(())
}

/// The follower. `after` is the last change that was known before the live state was loaded.
pub async fn follow(hub: Hub, store: impl LiveStore, mut after: i64, stop: CancellationToken) {
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = hub.clock().sleep(POLL_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        match catch_up(&hub, &store, &mut after).await {
            Ok(()) if failing => {
                failing = false;
                info!("following the control plane again");
            }
            Ok(()) => {}
            Err(error) if !failing => {
                failing = true;
                warn!(error = &error as &dyn std::error::Error, "cannot follow the control plane");
            }
            Err(_) => {}
        }
    }
}

async fn catch_up(hub: &Hub, store: &impl LiveStore, after: &mut i64) -> Result<(), StoreError> {
    loop {
        let changes = store.changes_since(*after, CHANGES_MAX).await?;
        let is_last = (changes.len() as i64) < CHANGES_MAX;
        for change in changes {
            if let Some(session) = change.session {
                follow_one(hub, store, session, &change).await?;
            }
            *after = change.seq;
        }
        if is_last {
            return resync_if_set_back(hub, store, after).await;
        }
    }
}

/// A database restored to an earlier point counts its changes from there again: what this node knows of its sessions is
/// compared as a whole, and the feed goes on from where the database is.
async fn resync_if_set_back(hub: &Hub, store: &impl LiveStore, after: &mut i64) -> Result<(), StoreError> {
    let latest = store.latest_change().await?;
    if latest >= *after {
        return Ok(());
    }
    warn!(latest, known = *after, "the database was set back; comparing every session");
    for session in hub.session_ids() {
        match store.load_session(session).await? {
            Some(LoadedSession { ended: Some((reason, at)), .. }) => {
                apply(hub, session, Command::End { reason, by: Actor::Operator, at, recorded: true });
            }
            Some(loaded) => reconfigure(hub, session, loaded, true),
            None => {}
        }
    }
    *after = latest;
    Ok(())
}

async fn follow_one(hub: &Hub, store: &impl LiveStore, session: SessionId, change: &Change) -> Result<(), StoreError> {
    match change.event_type.as_str() {
        "session_ended" if is_active(hub, session) => {
            if let Some(LoadedSession { ended: Some((reason, at)), .. }) = store.load_session(session).await? {
                apply(hub, session, Command::End { reason, by: Actor::Operator, at, recorded: true });
            }
        }
        "session_extended" | "session_updated" | "participant_barred" if is_active(hub, session) => {
            if let Some(loaded) = store.load_session(session).await? {
                reconfigure(hub, session, loaded, change.event_type == "session_extended");
            }
        }
        "session_recovered" if !is_active(hub, session) => {
            if let Some(loaded) = store.load_session(session).await? {
                recover(hub, session, loaded);
            }
        }
        "session_created" if !hub.is_live(session) => {
            if let Some(loaded) = store.load_session(session).await? {
                adopt(hub, session, loaded);
            }
        }
        "invite_revoked" => {
            let invite = change.metadata.get("invite_id").and_then(|id| id.as_str()).and_then(|id| id.parse().ok());
            if let Some(invite) = invite {
                hub.invites().revoke(invite);
                apply(hub, session, Command::RevokeInvite { invite });
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_active(hub: &Hub, session: SessionId) -> bool {
    hub.read(session, |session| session.ended().is_none()).unwrap_or(false)
}

/// Only what differs, so that people are not told of an extension twice.
fn reconfigure(hub: &Hub, session: SessionId, loaded: LoadedSession, extended: bool) {
    let Some(known) = hub.read(session, |session| session.spec().clone()) else { return };
    let (hold_until, expires_at) = (loaded.spec.hold_until, loaded.spec.expires_at);
    if extended && (hold_until > known.hold_until || expires_at != known.expires_at) {
        apply(hub, session, Command::Hold { hold_until, expires_at });
    }
    apply(hub, session, Command::Configure(Box::new(loaded.spec)));
}

fn recover(hub: &Hub, session: SessionId, loaded: LoadedSession) {
    if hub.is_live(session) && loaded.ended.is_none() {
        apply(hub, session, Command::Recover { expires_at: loaded.spec.expires_at });
    } else {
        adopt(hub, session, loaded);
    }
}

fn adopt(hub: &Hub, session: SessionId, loaded: LoadedSession) {
    if let Err(error) = hub.adopt(loaded) {
        warn!(error = &error as &dyn std::error::Error, session.id = %session, "session not taken in");
    }
}

/// A refusal means that this node was ahead of the feed.
fn apply(hub: &Hub, session: SessionId, command: Command) {
    if let Ok(applied) = hub.apply(session, command) {
        drop(applied);
    }
}
