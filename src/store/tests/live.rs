//! What the hub reads, and the one decision it leaves to Postgres: uses of an invite.

use rollcall_core::{Epoch, InviteId, LeaveReason, ParticipantId, SessionId};

use super::history::History;
use super::{LEASE, database, fresh_id, make_session, make_tenant, now, run};
use crate::store::Store;
use crate::store::ledger::apply_batch;
use crate::store::live::Consumed;
use crate::store::mapping::from_utc;

#[tokio::test]
async fn a_crashed_session_is_loaded_as_it_was() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let session = make_session(&store, tenant, fresh_id(), now()).await;
    let epoch: Epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
    let mut history = History::new(tenant, vec![session], epoch, now());
    history.join(0, 0);
    history.mark(0);
    let mark_at = history.now;
    let mut conn = store.dedicated().await.expect("connection");
    apply_batch(&mut conn, epoch, 1, &history.records, LEASE).await.expect("applies");
    let open = store.open_spans(epoch).await.expect("answers");
    assert_eq!(open.len(), 1);
    assert_eq!(store.unfinished_epochs("node-a").await.expect("answers")[0].applied_seq, 4);

    let applied = history.records.len();
    history.close(1, LeaveReason::NodeCrash);
    apply_batch(&mut conn, epoch, applied as i64 + 1, &history.records[applied..], LEASE).await.expect("applies");
    assert!(store.open_spans(epoch).await.expect("answers").is_empty());

    let loaded = store.load_session(session).await.expect("answers").expect("there is one");
    assert!(loaded.spec.started && loaded.ended.is_none());
    assert_eq!(loaded.identity_salt, [7; 32]);
    let [restored] = &loaded.restored[..] else { panic!("one participant was present: {loaded:?}") };
    assert_eq!(&*restored.identity, "person-0");
    assert_eq!(restored.name.as_deref(), Some("Name 0"));
    let crashed = restored.crashed.expect("its node crashed");
    assert_eq!(crashed.connection, open[0].connection);
    assert_eq!(crashed.mark_at, mark_at);
    assert!(crashed.possible_until >= crashed.disconnected_at);
    assert_eq!(store.load_active_sessions(None, 10).await.expect("answers").len(), 1);
    assert!(store.load_active_sessions(Some(session), 10).await.expect("answers").is_empty());
    assert!(store.load_session(SessionId(fresh_id())).await.expect("answers").is_none());
}

async fn make_invite(store: &Store, max_uses: &str) -> (SessionId, InviteId) {
    let tenant = make_tenant(store).await;
    let session = make_session(store, tenant, fresh_id(), now()).await;
    let invite = fresh_id();
    run(
        store,
        format!(
            "insert into rollcall.invites (invite_id, tenant_id, session_id, token_hash, token_hint, role, expires_at, max_uses)
             values ('{invite}', '{tenant}', '{session}', decode(repeat('ab', 32), 'hex'), 'inv', 'guest',
                     now() + interval '1 h', {max_uses})"
        ),
    )
    .await
    .expect("prepares");
    (session, InviteId(invite))
}

#[tokio::test]
async fn a_limited_invite_lets_in_exactly_as_many() {
    let store = database().await;
    let (_, invite) = make_invite(&store, "3").await;
    let people: Vec<_> = (0..12).map(|_| ParticipantId(fresh_id())).collect();
    let mut attempts = tokio::task::JoinSet::new();
    for person in people.iter().flat_map(|person| [*person, *person]) {
        let store = store.clone();
        attempts.spawn(async move { (person, store.consume_invite(invite, person, now()).await.expect("answers")) });
    }
    let outcomes = attempts.join_all().await;
    let first: Vec<_> = outcomes.iter().filter(|(_, outcome)| *outcome == Consumed::Consumed { first: true }).collect();
    assert_eq!(first.len(), 3, "{outcomes:?}");
    for (person, outcome) in &outcomes {
        let admitted = first.iter().any(|(admitted, _)| admitted == person);
        assert_eq!(matches!(outcome, Consumed::Consumed { .. }), admitted, "{outcomes:?}");
    }
    let (lucky, _) = first[0];
    assert!(store.release_invite_use(invite, *lucky).await.expect("answers"));
    assert!(!store.release_invite_use(invite, *lucky).await.expect("answers"));
    let next = store.consume_invite(invite, ParticipantId(fresh_id()), now()).await.expect("answers");
    assert_eq!(next, Consumed::Consumed { first: true });
    let loaded = store.load_invite_by_hash([0xab; 32]).await.expect("answers").expect("there is one");
    assert_eq!((loaded.invite, loaded.uses, loaded.max_uses), (invite, 3, Some(3)));
    assert_eq!(store.load_live_invites(None, now(), 10).await.expect("answers"), [loaded]);
}

#[tokio::test]
async fn an_invite_says_why_it_is_no_good() {
    let store = database().await;
    let (session, invite) = make_invite(&store, "null").await;
    let person = ParticipantId(fresh_id());
    for (change, outcome) in [
        ("not_before = now() + interval '1 minute'", Consumed::NotYetValid),
        ("expires_at = now() - interval '1 minute'", Consumed::Expired),
        ("revoked_at = now()", Consumed::Revoked),
    ] {
        run(&store, format!("update rollcall.invites set {change}")).await.expect("changes");
        assert_eq!(store.consume_invite(invite, person, now()).await.expect("answers"), outcome);
    }
    run(&store, "update rollcall.sessions set status = 'ended', ended_at = now(), end_reason = 'completed'")
        .await
        .expect("ends");
    assert_eq!(store.consume_invite(invite, person, now()).await.expect("answers"), Consumed::SessionEnded);
    let ended = store.load_session(session).await.expect("answers").expect("there is one").ended;
    assert!(ended.is_some_and(|(_, at)| at <= from_utc(super::to_utc(now()))));
}

#[tokio::test]
async fn changes_are_tailed_in_order() {
    let store = database().await;
    let (session, _) = make_invite(&store, "1").await;
    let start = store.latest_change().await.expect("answers");
    for name in ["app.one", "app.two"] {
        run(&store, format!("select rollcall.log_session_event('{session}', '{name}')")).await.expect("logs");
    }
    let changes = store.changes_since(start, 10).await.expect("answers");
    let seen: Vec<_> = changes.iter().map(|change| (change.seq, &*change.event_type, change.session)).collect();
    assert_eq!(seen, [(start + 1, "app.one", Some(session)), (start + 2, "app.two", Some(session))]);
    assert_eq!(store.changes_since(start + 1, 10).await.expect("answers").len(), 1);
}
