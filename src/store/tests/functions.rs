//! The SQL that people use: the trail, the bill, the installation itself.

use super::{database, empty_database, fresh_id, make_session, make_tenant, now, run, value, verify};
use crate::store::Store;
use crate::store::mapping::to_utc;
use rollcall_core::Timestamp;
use sqlx::AssertSqlSafe;

#[tokio::test]
async fn migrating_twice_and_at_once_is_safe() {
    let store = empty_database().await;
    assert!(!store.schema_is_current().await.expect("answers"));
    let (one, two) = tokio::join!(store.migrate(), store.migrate());
    let (one, two) = (one.expect("migrates"), two.expect("migrates"));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let numbered = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(char::is_numeric);
    let files = std::fs::read_dir(folder).expect("beside the sources").filter_map(Result::ok).filter(numbered).count();
    assert_eq!(one.migrations_applied + two.migrations_applied, files);
    let again = store.migrate().await.expect("migrates");
    assert_eq!((again.migrations_applied, again.functions_applied), (0, 0));
    assert!(store.schema_is_current().await.expect("answers"));
    verify(&store).await.expect("a fresh installation is sound");
    assert_eq!(value(&store, "select count(*) from pg_class where relnamespace = 'public'::regnamespace").await, "0");
    run(&store, "delete from rollcall.applied_functions where name = 'presence_at'").await.expect("tampers");
    assert!(!store.schema_is_current().await.expect("answers"));
}

#[tokio::test]
async fn the_ledger_is_append_only() {
    let store = database().await;
    log_one(&store).await;
    run(&store, "insert into rollcall.evidence_marks values (0, 99, now(), 1, sha256(''))").await.expect("inserts");
    let log = "rollcall.session_audit_log";
    let partition = value(&store, format!("select tableoid::regclass from {log}")).await;
    for statement in [
        format!("update {log} set actor = 'nobody'"),
        format!("delete from {log}"),
        format!("delete from {partition}"),
        format!("truncate {log}"),
        format!("truncate {partition}"),
        "truncate rollcall.session_audit_log_default".to_owned(),
        "update rollcall.evidence_marks set connections = 0".to_owned(),
        "delete from rollcall.evidence_marks".to_owned(),
        "truncate rollcall.evidence_marks".to_owned(),
    ] {
        for role in ["origin", "replica"] {
            let mut tx = store.pool.begin().await.expect("begins");
            let text = format!("set local session_replication_role = {role}; {statement}");
            let error = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *tx).await.expect_err(&statement);
            assert!(error.to_string().contains("append-only"), "{statement} as {role}: {error}");
            tx.rollback().await.expect("rolls back");
        }
    }
    assert_eq!(value(&store, format!("select count(*) from {log}")).await, "1");
}

#[tokio::test]
async fn verify_notices_tampering() {
    let tampering = [
        "drop trigger session_audit_log_append_only on rollcall.session_audit_log",
        "alter table rollcall.session_audit_log_default disable trigger session_audit_log_no_truncate",
        "alter table rollcall.evidence_marks enable trigger evidence_marks_append_only",
        "drop function rollcall.time_together(uuid, uuid, uuid)",
        "drop index rollcall.participation_spans_session_idx",
        "grant select on rollcall.sessions to public",
        "grant usage on schema rollcall to public",
        "grant delete on rollcall.session_audit_log_default to rollcall_server",
        "grant select on rollcall.participant_pii to rollcall_billing",
        "grant insert on rollcall.usage_day to rollcall_auditor",
        "alter table rollcall.participants disable row level security",
        "alter role rollcall_billing bypassrls",
        "alter table rollcall.participation_spans disable trigger participation_spans_roll_up_update",
        "alter table rollcall.billing_statements disable trigger billing_statements_append_only",
        "insert into rollcall.usage_day (tenant_id, day, shard, covered_us)
         select tenant_id, current_date, 0, 5 from rollcall.tenants",
        "insert into rollcall.session_stats_day
         select tenant_id, current_date, 0, 1, 0, 0, 0, 0, 0, 0, 0 from rollcall.tenants",
        "update rollcall.node_epochs set applied_seq = applied_seq + 1 where epoch = 0",
        "alter table rollcall.session_audit_log disable trigger session_audit_log_append_only;
         update rollcall.session_audit_log set metadata = '{\"altered\": true}';
         alter table rollcall.session_audit_log enable always trigger session_audit_log_append_only",
        // The verifier itself, made blind.
        "create or replace function rollcall.verify_audit_chain(p_epoch bigint default null, p_since timestamptz default null)
             returns table (severity text, epoch bigint, seq bigint, problem text)
             language sql stable set search_path = pg_catalog, pg_temp
             as $$ select null::text, null::bigint, null::bigint, null::text where false $$",
        "alter table rollcall.session_audit_log disable trigger all; delete from rollcall.session_audit_log;
         alter table rollcall.session_audit_log enable always trigger session_audit_log_append_only;
         alter table rollcall.session_audit_log enable always trigger session_audit_log_no_truncate;
         alter table rollcall.session_audit_log enable always trigger session_audit_log_touch",
    ];
    let store = database().await;
    log_one(&store).await;
    verify(&store).await.expect("sound at first");
    for text in tampering {
        let mut tx = store.pool.begin().await.expect("begins");
        sqlx::raw_sql(text).execute(&mut *tx).await.expect("tampers");
        let outcome = sqlx::raw_sql(crate::store::migrate::VERIFY_SQL).execute(&mut *tx).await;
        assert!(outcome.is_err(), "{text}");
        tx.rollback().await.expect("rolls back");
    }
    verify(&store).await.expect("sound again");
}

async fn log_one(store: &Store) {
    let tenant = make_tenant(store).await;
    let session = make_session(store, tenant, fresh_id(), now()).await;
    run(store, format!("select rollcall.log_session_event('{session}', 'note')")).await.expect("logs");
}

#[tokio::test]
async fn apps_log_events_of_their_own_and_no_others() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let session = make_session(&store, tenant, fresh_id(), Timestamp(1_000_000)).await;
    let log = |arguments: &str| format!("select rollcall.log_session_event({arguments})");
    let keyed =
        log(&format!("'{session}', 'app.call_started', p_metadata => '{{\"a\": 1}}', p_idempotency_key => 'k'"));
    assert_eq!(value(&store, keyed.clone()).await, "1");
    assert_eq!(value(&store, keyed).await, "1", "the same key is the same event");
    assert_eq!(value(&store, log(&format!("'{session}', 'app.call_ended'"))).await, "2");
    let seen = "select last_seen_at > now() - interval '1 minute' from rollcall.sessions";
    assert_eq!(value(&store, seen).await, "true", "an event of the app moves last_seen_at");

    for (arguments, code) in [
        (format!("'{session}', 'participant_joined'"), "22023"),
        (format!("'{session}', 'app.'"), "22023"),
        (format!("'{session}', null"), "22023"),
        (format!("'{session}', 'note', null, '[]'"), "22023"),
        (format!("'{session}', 'note', null, null"), "22023"),
        (format!("'{}', 'note'", fresh_id()), "P0002"),
        ("null, 'note'".to_owned(), "P0002"),
        (format!("'{session}', 'note', p_idempotency_key => 'k'"), "23505"),
    ] {
        let error = run(&store, log(&arguments)).await.expect_err(&arguments);
        let error = error.as_database_error().expect("an error of the database");
        assert_eq!(error.code().as_deref(), Some(code), "{arguments}");
        let error = error.downcast_ref::<sqlx::postgres::PgDatabaseError>();
        assert!(error.hint().is_some(), "{arguments}");
    }
    verify(&store).await.expect("refused events leave no gap");
}

/// Ann: two overlapping tabs, 0–90 s and 60–150 s, then 200–210.5 s. Bob: 100–250 s and open since 300, heard at 330.
async fn billed_session(store: &Store) -> (String, String, String, String) {
    let tenant = make_tenant(store).await;
    let session = make_session(store, tenant, fresh_id(), Timestamp(0)).await.to_string();
    let (ann, bob) = ("00000000-0000-8000-8000-00000000000a", "00000000-0000-8000-8000-00000000000b");
    let epoch = store.open_epoch("node-a", now(), super::LEASE).await.expect("epoch");
    let mut values = Vec::new();
    for (number, (who, from, to, evidence)) in [
        (ann, 0.0, Some(90.0), 90.0),
        (ann, 60.0, Some(150.0), 150.0),
        (ann, 200.0, Some(210.5), 210.5),
        (bob, 100.0, Some(250.0), 250.0),
        (bob, 300.0, None, 330.0),
    ]
    .into_iter()
    .enumerate()
    {
        let to = to.map_or("null".to_owned(), |to: f64| format!("to_timestamp({to})"));
        let reason = if to == "null" { "null" } else { "'left'" };
        values.push(format!(
            "({epoch}, {number}, '{session}', '{tenant}', '{who}', 'guest', to_timestamp({from}), {to},
              to_timestamp({evidence}), {reason}, {number})"
        ));
    }
    run(
        store,
        format!(
            "insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
                 connected_at, disconnected_at, last_evidence_at, end_reason, uncertainty_us) values {}",
            values.join(",")
        ),
    )
    .await
    .expect("prepares");
    (tenant.to_string(), session, ann.to_owned(), bob.to_owned())
}

#[tokio::test]
async fn the_bill_is_what_one_computes_by_hand() {
    let store = database().await;
    let (tenant, session, ann, bob) = billed_session(&store).await;
    let bill = |who: &str, more: &str| {
        format!(
            "select (b.connections, trim_scale(b.connected_seconds), trim_scale(b.billable_seconds),
                     trim_scale(b.overlap_seconds), trim_scale(b.gap_seconds), trim_scale(b.billed_units),
                     trim_scale(b.uncertainty_seconds), b.is_open)
             from rollcall.get_session_billing_data('{session}' {more}) b where b.participant_id = '{who}'"
        )
    };
    assert_eq!(value(&store, bill(&ann, "")).await, "(3,190.5,160.5,30,50,160.5,0.000003,f)");
    assert_eq!(value(&store, bill(&bob, "")).await, "(2,180,180,0,50,180,0.000007,t)");
    // Clipped to [80, 220): 70 + 10.5 seconds of Ann; the uncertainty of a span belongs to the period of its end.
    let part = ", to_timestamp(80), to_timestamp(220)";
    assert_eq!(value(&store, bill(&ann, part)).await, "(3,90.5,80.5,10,50,80.5,0.000003,f)");
    assert_eq!(value(&store, bill(&bob, part)).await, "(1,120,120,0,0,120,0,f)");
    let stays = format!(
        "select b.last_left_at is null from rollcall.get_session_billing_data('{session}' {part}) b
         where b.participant_id = '{bob}'"
    );
    assert_eq!(value(&store, stays).await, "true", "an open connection behind the period counts");
    let complete = "select complete_through = to_timestamp(330) from rollcall.get_billing_watermark()";
    assert_eq!(value(&store, complete).await, "true", "the open connection can still add to its evidence");

    for (rounding, ann_units, bob_units) in [
        ("second", "161", "180"),
        ("minute_per_connection", "5", "4"),
        ("minute_per_participant", "3", "3"),
        ("minute_per_session", "3", "3"),
    ] {
        let units = |who: &str| {
            format!(
                "select trim_scale(b.billed_units) from rollcall.get_session_billing_data('{session}',
                 p_rounding => '{rounding}') b where b.participant_id = '{who}'"
            )
        };
        assert_eq!(value(&store, units(&ann)).await, ann_units, "{rounding}");
        assert_eq!(value(&store, units(&bob)).await, bob_units, "{rounding}");
    }
    let together = format!("select trim_scale(rollcall.time_together('{session}', '{ann}', '{bob}'))");
    assert_eq!(value(&store, together).await, "60.5");
    let present = |at: &str| format!("select count(*) from rollcall.presence_at('{session}', to_timestamp({at}))");
    for (at, count) in [("89.999999", "1"), ("120", "2"), ("150", "1"), ("270", "0"), ("320", "1")] {
        assert_eq!(value(&store, present(at)).await, count, "at {at}");
    }
    // The days of a zone whose midnight lies at 1970-01-01 00:02 UTC cut the session, and the halves add up.
    let usage = format!(
        "select string_agg(u.day || ' ' || trim_scale(u.billable_seconds), ', ' order by u.day)
         from rollcall.get_usage('{tenant}', to_timestamp(0), to_timestamp(1000), 'day', '<x>+00:02') u"
    );
    assert_eq!(value(&store, usage).await, "1969-12-31 140, 1970-01-01 200.5");
    let peak = "select (a.participants, trim_scale(a.participant_seconds), a.peak_concurrent)
                from rollcall.get_session_analytics(to_timestamp(0), to_timestamp(1000)) a";
    assert_eq!(value(&store, peak).await, "(2,340.5,2)");
}

#[tokio::test]
async fn buckets_leave_no_time_out_where_clocks_go_back() {
    let store = database().await;
    for (bucket, zone, from, to, bounds) in [
        ("day", "America/Havana", "2026-10-31T12:00Z", "2026-11-03T00:00Z", "31 12:00, 01 04:00, 02 05:00"),
        ("day", "America/Havana", "2026-11-01T04:30Z", "2026-11-03T00:00Z", "01 04:30, 02 05:00"),
        ("hour", "Europe/Berlin", "2026-10-25T00:00Z", "2026-10-25T03:00Z", "25 00:00, 25 01:00, 25 02:00"),
    ] {
        let call = format!(
            "select string_agg(to_char(b.lower_at at time zone 'UTC', 'DD HH24:MI'), ', ' order by b.lower_at)
             from rollcall.time_buckets('{bucket}', '{zone}', '{from}', '{to}') b"
        );
        assert_eq!(value(&store, call).await, bounds, "{bucket} of {zone} from {from}");
    }
}

#[tokio::test]
async fn readers_refuse_what_they_cannot_work_with() {
    let store = database().await;
    let (tenant, session, ..) = billed_session(&store).await;
    let from = to_utc(Timestamp(0)).to_rfc3339();
    for (call, code) in [
        (format!("get_session_billing_data('{session}', p_rounding => 'minute')"), "22023"),
        (format!("get_session_billing_data('{session}', p_rounding => null)"), "22023"),
        (format!("get_session_billing_data('{session}', now(), now())"), "22023"),
        (format!("get_session_billing_data('{}')", fresh_id()), "P0002"),
        (format!("get_usage('{tenant}', '{from}', now(), 'week')"), "22023"),
        (format!("get_usage('{tenant}', '{from}', now(), p_tz => 'Europe/Nowhere')"), "22023"),
        (format!("get_usage('{tenant}', null, now())"), "22023"),
        (format!("get_session_analytics('{from}', now(), p_bucket => 'minute')"), "22023"),
        ("ensure_audit_partitions(-1)".to_owned(), "22023"),
    ] {
        let error = run(&store, format!("select * from rollcall.{call}")).await.expect_err(&call);
        let error = error.as_database_error().expect("an error of the database");
        assert_eq!(error.code().as_deref(), Some(code), "{call}");
        assert!(error.downcast_ref::<sqlx::postgres::PgDatabaseError>().hint().is_some(), "{call}");
    }
}

#[tokio::test]
async fn roles_can_do_their_work_and_no_more() {
    use sqlx::Executor;
    let store = database().await;
    let (tenant, session, ..) = billed_session(&store).await;
    let allowed = [
        ("rollcall_server", "select rollcall.ensure_audit_partitions(5)".to_owned()),
        ("rollcall_server", format!("select rollcall.log_session_event('{session}', 'note', null, '{{}}', 'k')")),
        ("rollcall_server", "select * from rollcall.cleanup_inactive_sessions()".to_owned()),
        ("rollcall_server", "select setval(pg_get_serial_sequence('rollcall.node_epochs', 'epoch'), 50)".to_owned()),
        ("rollcall_billing", format!("select * from rollcall.get_session_billing_data('{session}')")),
        ("rollcall_billing", format!("select * from rollcall.get_usage('{tenant}', to_timestamp(0), now())")),
        ("rollcall_billing", "select * from rollcall.get_session_analytics(to_timestamp(0), now())".to_owned()),
        ("rollcall_auditor", "select * from rollcall.session_audit_log".to_owned()),
    ];
    let denied = [
        ("rollcall_server", "delete from rollcall.session_audit_log"),
        ("rollcall_server", "update rollcall.evidence_marks set connections = 0"),
        ("rollcall_server", "delete from rollcall.session_audit_log_default"),
        ("rollcall_billing", "select * from rollcall.participant_pii"),
        ("rollcall_billing", "select identity_salt from rollcall.tenants"),
        ("rollcall_billing", "select rollcall.cleanup_inactive_sessions()"),
        ("rollcall_auditor", "select * from rollcall.invites"),
    ];
    for (role, statement) in allowed {
        let mut tx = store.pool.begin().await.expect("begins");
        let text = AssertSqlSafe(format!("set local role {role}; {statement}"));
        tx.execute(sqlx::raw_sql(text)).await.unwrap_or_else(|error| panic!("{role}: {statement}: {error}"));
        tx.rollback().await.expect("rolls back");
    }
    for (role, statement) in denied {
        let mut tx = store.pool.begin().await.expect("begins");
        let text = AssertSqlSafe(format!("set local role {role}; {statement}"));
        let error = tx.execute(sqlx::raw_sql(text)).await.expect_err(statement);
        let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{role}: {statement}");
        tx.rollback().await.expect("rolls back");
    }
}
