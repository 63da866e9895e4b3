//! Splits, time zones, closed periods, refused arguments.

use sqlx::AssertSqlSafe;

use super::super::{LEASE, make_tenant, now, run, value, verify};
use super::{ALL_TIME, Ledger, at, fresh_id};
use crate::store::mapping::to_utc;
use crate::store::sessions;

const ANN: u128 = 1;
const BOB: u128 = 2;
const DAY: f64 = 86_400.0;

#[tokio::test]
async fn months_and_days_add_up_exactly() {
    let mut ledger = Ledger::new().await;
    // Over the turn of the month, with a second tab, to the microsecond.
    ledger.span(ANN, 30.9 * DAY, 31.2 * DAY + 0.000_001).await;
    ledger.span(ANN, 30.95 * DAY + 0.000_003, 31.1 * DAY).await;
    ledger.span(BOB, 10.0 * DAY, 40.0 * DAY).await;
    for zone in ["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Chatham", "Asia/Kathmandu"] {
        let months = format!(
            "select (select sum(u.billable_seconds) from rollcall.get_usage('{0}', '2026-03-01 {1}', '2026-04-01 {1}', 'day', '{1}') u)
                  + (select sum(u.billable_seconds) from rollcall.get_usage('{0}', '2026-04-01 {1}', '2026-05-01 {1}', 'tenant', '{1}') u)
                  = (select sum(u.billable_seconds) from rollcall.get_usage('{0}', '2026-03-01 {1}', '2026-05-01 {1}', 'session', '{1}') u)",
            ledger.tenant, zone
        );
        assert_eq!(value(&ledger.store, months).await, "true", "{zone}");
    }
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "2617920.000001");
}

#[tokio::test]
async fn days_have_23_and_25_hours_where_clocks_change() {
    let mut ledger = Ledger::new().await;
    // All of 2026-03-28 to 31 and of 2026-10-24 to 26.
    ledger.span(ANN, 26.0 * DAY, 31.0 * DAY).await;
    ledger.span(ANN, 236.0 * DAY, 242.0 * DAY).await;
    for (zone, from, to, hours) in [
        ("Europe/Berlin", "2026-03-28", "2026-03-31", "24 23 24"),
        ("Europe/Berlin", "2026-10-24", "2026-10-27", "24 25 24"),
        ("Europe/London", "2026-03-28", "2026-03-31", "24 23 24"),
        ("UTC", "2026-03-28", "2026-03-31", "24 24 24"),
        ("Australia/Lord_Howe", "2026-10-25", "2026-10-27", "24 24"),
    ] {
        let sql = format!(
            "select string_agg(trim_scale(u.billable_seconds / 3600)::text, ' ' order by u.day)
             from rollcall.get_usage('{}', '{from} {zone}', '{to} {zone}', 'day', '{zone}') u",
            ledger.tenant
        );
        assert_eq!(value(&ledger.store, sql).await, hours, "{zone} from {from}");
        let sql = format!(
            "select string_agg(trim_scale(a.participant_seconds / 3600)::text, ' ' order by a.bucket)
             from rollcall.get_session_analytics('{from} {zone}', '{to} {zone}', '{}', 'day', '{zone}') a",
            ledger.tenant
        );
        assert_eq!(value(&ledger.store, sql).await, hours, "analytics, {zone} from {from}");
    }
}

#[tokio::test]
async fn a_late_fact_about_a_closed_period_becomes_an_adjustment() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, 0.0, 100.0).await;
    run(&ledger.store, "update rollcall.node_epochs set attested_until = now()").await.expect("attests");
    let close = |from: f64, to: f64| {
        format!("select rollcall.close_billing_period('{}', {}, {})", ledger.tenant, at(from), at(to))
    };
    let first = value(&ledger.store, close(0.0, DAY)).await;
    let statement = |column: &str, id: &str| {
        format!(
            "select trim_scale(s.{column}::numeric) from rollcall.billing_statements s where s.statement_id = '{id}'"
        )
    };
    assert_eq!(value(&ledger.store, statement("billable_us", &first)).await, "100000000");

    // Ten seconds of the closed day are new, forty are covered already; the rest lies behind the period.
    let (tenant, session) = (ledger.tenant, ledger.session);
    ledger.span(ANN, 60.0, 110.0).await;
    ledger.span(BOB, DAY - 5.0, DAY + 20.0).await;
    let found = "select string_agg(a.delta_us::text, ' ' order by a.adjustment_id) from rollcall.billing_adjustments a";
    assert_eq!(value(&ledger.store, found).await, "10000000 5000000");
    assert_eq!(ledger.bill("adjustments_seconds", "").await, "15");
    for group in ["day", "session", "participant", "tenant"] {
        let arguments = format!("{ALL_TIME}, '{group}'");
        assert_eq!(ledger.usage("adjustments_seconds", &arguments).await, "15", "{group}");
        assert_eq!(ledger.usage("billable_seconds", &arguments).await, "135", "{group}");
    }
    // Taken back: the adjustment stays, and another one balances it.
    run(
        &ledger.store,
        format!("delete from rollcall.participation_spans where participant_id = '{}'", uuid::Uuid::from_u128(BOB)),
    )
    .await
    .expect("deletes");
    assert_eq!(value(&ledger.store, found).await, "10000000 5000000 -5000000");

    let second = value(
        &ledger.store,
        format!("select rollcall.close_billing_period('{tenant}', {}, {})", at(DAY), at(2.0 * DAY)),
    )
    .await;
    assert_eq!(value(&ledger.store, statement("adjustments_us", &second)).await, "10000000", "on the next statement");
    assert_eq!(value(&ledger.store, statement("billable_us", &second)).await, "0");
    let third = value(
        &ledger.store,
        format!("select rollcall.close_billing_period('{tenant}', {}, {})", at(2.0 * DAY), at(3.0 * DAY)),
    )
    .await;
    assert_eq!(value(&ledger.store, statement("adjustments_us", &third)).await, "0", "and only once");
    let hash = format!(
        "select s.lines_hash = sha256(convert_to('{session} {} 100000000' || e'\\n', 'UTF8'))
         from rollcall.billing_statements s where s.statement_id = '{first}'",
        uuid::Uuid::from_u128(ANN)
    );
    assert_eq!(value(&ledger.store, hash).await, "true");
    assert_eq!(ledger.differences().await, "");
    for statement in
        ["update rollcall.billing_statements set billable_us = 0", "delete from rollcall.billing_adjustments"]
    {
        let error = run(&ledger.store, statement).await.expect_err(statement);
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_fact_under_way_while_a_period_is_closed_is_in_it_or_adjusts_it() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, 0.0, 100.0).await;
    run(&ledger.store, "update rollcall.node_epochs set attested_until = now()").await.expect("attests");
    let mut flush = ledger.store.pool.begin().await.expect("begins");
    let sql = format!(
        "insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
             connected_at, disconnected_at, last_evidence_at, end_reason)
         select s.epoch, 77, s.session_id, s.tenant_id, s.participant_id, 'guest', {0}, {1}, {1}, 'left'
         from rollcall.participation_spans s limit 1",
        at(200.0),
        at(250.0)
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *flush).await.expect("inserts");
    let close = format!("select rollcall.close_billing_period('{}', {}, {})::text", ledger.tenant, at(0.0), at(DAY));
    let store = ledger.store.clone();
    let closing = tokio::spawn(async move { value(&store, close).await });
    // It waits for the transaction that counts.
    let waits = "select exists (select from pg_locks where locktype = 'advisory' and not granted)";
    while value(&ledger.store, waits).await != "true" {}
    flush.commit().await.expect("commits");
    closing.await.expect("closes");
    assert_eq!(value(&ledger.store, "select billable_us from rollcall.billing_statements").await, "150000000");
    assert_eq!(value(&ledger.store, "select count(*) from rollcall.billing_adjustments").await, "0");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_a_hint() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, 0.0, 100.0).await;
    ledger.open(BOB, 0.0, 50.0).await;
    run(&ledger.store, "update rollcall.node_epochs set attested_until = now()").await.expect("attests");
    let (tenant, session, from, to) = (ledger.tenant, ledger.session, at(0.0), at(DAY));
    let nobody = fresh_id();
    run(&ledger.store, format!("select rollcall.close_billing_period('{tenant}', {from}, {})", at(10.0)))
        .await
        .expect("closes");
    for (call, code) in [
        (format!("get_usage('{tenant}', {to}, {from})"), "22023"),
        (format!("get_usage('{tenant}', {from}, 'infinity')"), "22023"),
        (format!("get_usage('{tenant}', {from}, {to}, 'year')"), "22023"),
        (format!("get_usage('{tenant}', {from}, {to}, 'day', 'Mars/Olympus')"), "22023"),
        (format!("get_usage('{tenant}', {from}, {to}, 'day', 'UTC', 'hour')"), "22023"),
        (format!("get_usage('{tenant}', {from}, {to}, p_grace => '-1 s')"), "22023"),
        (format!("get_usage('{tenant}', {from}, {to}, p_grace => '2 days')"), "22023"),
        (format!("get_usage(null, {from}, {to})"), "22023"),
        (format!("get_usage('{nobody}', {from}, {to})"), "P0002"),
        (format!("get_session_billing_data('{nobody}')"), "P0002"),
        (format!("presence_at('{nobody}', now())"), "P0002"),
        (format!("time_together('{nobody}', '{nobody}', '{nobody}')"), "P0002"),
        (format!("log_session_event('{nobody}', 'note')"), "P0002"),
        (format!("log_session_event('{session}', 'session_ended')"), "22023"),
        (
            format!(
                "log_control_event('{tenant}', '{session}', null, 'note', 'operator', '{{}}', now() + interval '1 h')"
            ),
            "22023",
        ),
        (format!("get_session_billing_data('{session}', p_grace => '2 days')"), "22023"),
        (format!("get_session_analytics({to}, {from})"), "22023"),
        (format!("recompute_billing('{tenant}', {to}, {from})"), "22023"),
        (format!("recompute_billing('{tenant}', null, {from})"), "22023"),
        (format!("close_billing_period('{nobody}', {from}, {to})"), "P0002"),
        (format!("close_billing_period('{tenant}', {to}, {from})"), "22023"),
        // Bob is still there, proven until 50 s: the books are not complete.
        (format!("close_billing_period('{tenant}', {}, {})", at(10.0), at(51.0)), "55000"),
        (format!("close_billing_period('{tenant}', {}, {})", at(5.0), at(20.0)), "23505"),
    ] {
        let error = run(&ledger.store, format!("select * from rollcall.{call}")).await.expect_err(&call);
        let error = error.as_database_error().expect("an error of the database");
        assert_eq!(error.code().as_deref(), Some(code), "{call}: {error}");
        assert!(error.downcast_ref::<sqlx::postgres::PgDatabaseError>().hint().is_some(), "{call}");
    }
}

#[tokio::test]
async fn an_epoch_that_lags_keeps_a_period_open() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, 0.0, 100.0).await;
    ledger
        .store
        .open_epoch("node-b", rollcall_core::Timestamp((super::MARCH + 40) * 1_000_000), LEASE)
        .await
        .expect("epoch");
    let close = |to: f64| format!("select rollcall.close_billing_period('{}', {}, {})", ledger.tenant, at(0.0), at(to));
    assert!(run(&ledger.store, close(41.0)).await.is_err(), "node-b may still tell of the 41st second");
    run(&ledger.store, close(40.0)).await.expect("closes what is complete");
    run(&ledger.store, format!("update rollcall.node_epochs set attested_until = {}", super::at(DAY)))
        .await
        .expect("attests");
    assert!(now() > rollcall_core::Timestamp(super::MARCH * 1_000_000));
    let rest = format!("select rollcall.close_billing_period('{}', {}, {})", ledger.tenant, at(40.0), at(100.0));
    run(&ledger.store, rest).await.expect("closes the rest");
    assert_eq!(value(&ledger.store, "select sum(billable_us) from rollcall.billing_statements").await, "100000000");
}

#[tokio::test]
async fn what_an_ended_session_has_too_much_is_not_called_complete() {
    let mut ledger = Ledger::new().await;
    let connection = ledger.open(ANN, 0.0, 100.0).await;
    run(&ledger.store, format!("update rollcall.node_epochs set attested_until = {}", super::at(DAY)))
        .await
        .expect("attests");
    let complete = "select extract(epoch from complete_through) - 1772323200 from rollcall.get_billing_watermark()";
    assert_eq!(value(&ledger.store, complete).await, "100.000000");
    let mut connection_of_an_operator = ledger.store.pool.acquire().await.expect("connects");
    let end = to_utc(rollcall_core::Timestamp((super::MARCH + 60) * 1_000_000));
    assert!(sessions::end(&mut connection_of_an_operator, ledger.tenant, ledger.session, end).await.expect("ends"));
    // The node has not heard of it: the connection will be cut back.
    assert_eq!(value(&ledger.store, complete).await, "60.000000");
    // These spans have no trail, so verify.sql has other things to say, too.
    let faults = |outcome: Result<(), sqlx::Error>| outcome.expect_err("no trail").to_string();
    let unmarked = "is open in session";
    assert!(!faults(verify(&ledger.store).await).contains(unmarked), "marked by whoever ended it");
    run(&ledger.store, "update rollcall.sessions set awaits_closes = false").await.expect("tampers");
    assert!(faults(verify(&ledger.store).await).contains(unmarked), "the watermark would pass it");
    ledger.close(connection, 60.0, "session_ended", 0).await;
    assert_eq!(value(&ledger.store, complete).await, (DAY as i64).to_string() + ".000000");
}

#[tokio::test]
async fn how_sessions_went_is_what_the_sessions_say() {
    let ledger = Ledger::new().await;
    let other = make_tenant(&ledger.store).await;
    // Ninety sessions over three days, some of which nobody came to, whatever ended them.
    let make = format!(
        "insert into rollcall.sessions (session_id, tenant_id, status, idle_timeout_s, created_at, started_at, ended_at,
                                        end_reason, last_activity_at, last_seen_at, hold_until)
         select gen_random_uuid(), case when n % 3 = 0 then '{other}' else '{tenant}' end::uuid, 'ended', 3600, t.at,
                case when n % 7 <> 0 then t.at end, t.at + n * interval '7 minutes 3.000001 seconds',
                (array['completed', 'idle', 'max_duration', 'abandoned'])[1 + n % 4], t.at, t.at, t.at
         from generate_series(0, 89) n, lateral (select '2026-03-10Z'::timestamptz + n * interval '37 minutes 11 seconds' as at) t",
        tenant = ledger.tenant,
    );
    run(&ledger.store, make).await.expect("makes sessions");
    for (from, to) in [
        ("2026-03-10Z", "2026-03-13Z"),
        ("2026-03-10T05:30Z", "2026-03-12T05:30Z"),
        ("2026-03-10T22:00Z", "2026-03-11T03:00Z"),
        ("2026-03-01Z", "2026-04-01Z"),
        ("2026-03-01Z", "2026-03-02Z"),
    ] {
        for tenant in ["null".to_owned(), format!("'{}'::uuid", ledger.tenant)] {
            let counted = format!(
                "select (a.started, a.ended, a.completed, a.expired, a.abandoned, a.no_shows, round(a.avg_duration_seconds, 3),
                         trim_scale(a.p50_duration_seconds), trim_scale(a.p95_duration_seconds),
                         trim_scale(a.max_duration_seconds))
                 from rollcall.get_session_analytics('{from}', '{to}', {tenant}) a"
            );
            let naive = format!(
                "with s as (select s.*, extract(epoch from s.ended_at - s.started_at) as length,
                                   s.ended_at >= '{from}' and s.ended_at < '{to}' as ended
                            from rollcall.sessions s where coalesce(s.tenant_id = {tenant}, true))
                 select (count(*) filter (where s.started_at >= '{from}' and s.started_at < '{to}'),
                         count(*) filter (where s.ended), count(*) filter (where s.ended and s.end_reason = 'completed'),
                         count(*) filter (where s.ended and s.end_reason in ('idle', 'max_duration')),
                         count(*) filter (where s.ended and s.end_reason = 'abandoned'),
                         count(*) filter (where s.ended and s.started_at is null),
                         round(avg(s.length) filter (where s.ended), 3),
                         trim_scale(percentile_disc(0.5) within group (order by s.length) filter (where s.ended)),
                         trim_scale(percentile_disc(0.95) within group (order by s.length) filter (where s.ended)),
                         trim_scale(max(s.length) filter (where s.ended)))
                 from s"
            );
            let (counted, naive) = (value(&ledger.store, counted).await, value(&ledger.store, naive).await);
            assert_eq!(counted, naive, "{tenant} from {from} to {to}");
        }
    }
    // Buckets, which are counted together, are what they are when each is asked for alone.
    for (bucket, zone) in
        [("hour", "UTC"), ("day", "UTC"), ("day", "Asia/Kathmandu"), ("week", "UTC"), ("month", "UTC")]
    {
        for tenant in ["null".to_owned(), format!("'{}'::uuid", ledger.tenant)] {
            let differ = format!(
                "select (count(*) > 1, count(*) filter (where b::text is distinct from a::text)) from (
                     select x as b, lead(x.bucket, 1, '2026-03-12T05:30Z') over (order by x.bucket) as upper_at
                     from rollcall.get_session_analytics('2026-02-27T05:30Z', '2026-03-12T05:30Z', {tenant}, '{bucket}', '{zone}') x) y,
                     lateral (select a from rollcall.get_session_analytics((y.b).bucket, y.upper_at, {tenant}) a) z"
            );
            assert_eq!(value(&ledger.store, differ).await, "(t,0)", "{bucket} of {zone}, {tenant}");
        }
    }
    assert_eq!(ledger.differences().await, "");
}
