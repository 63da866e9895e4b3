//! The edge cases of metering, each by its name.

use rollcall_core::{Actor, ConnectionId, Fact, LeaveReason, ParticipantId, Record, SessionFact};
use uuid::Uuid;

use super::super::history::History;
use super::super::{LEASE, make_session, make_tenant, now, run, value};
use super::{ALL_TIME, Ledger, at, database, differences, fresh_id};
use crate::store::ledger::apply_batch;

const ANN: u128 = 1;
const BOB: u128 = 2;
const DAY: f64 = 86_400.0;

#[tokio::test]
async fn overlapping_devices_count_once() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, 0.0, 90.0).await;
    ledger.span(ANN, 60.0, 150.0).await;
    assert_eq!(ledger.bill("billable_seconds", "").await, "150");
    assert_eq!(ledger.bill("connected_seconds", "").await, "180");
    assert_eq!(ledger.bill("overlap_seconds", "").await, "30");
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "150");
    assert_eq!(ledger.usage("overlap_seconds", ALL_TIME).await, "30");
    assert_eq!(ledger.usage("connections", ALL_TIME).await, "2");
    let per_connection = format!("{ALL_TIME}, 'day', 'UTC', 'minute_per_connection'");
    assert_eq!(ledger.usage("billed_units", &per_connection).await, "4", "the policy that bills every device");
}

#[tokio::test]
async fn a_reconnect_gap_is_billed_only_within_the_grace() {
    let mut ledger = Ledger::new().await;
    // Gaps of 20 s and of 40 s; the first lies over midnight.
    ledger.span(ANN, DAY - 100.0, DAY - 10.0).await;
    ledger.span(ANN, DAY + 10.0, DAY + 50.0).await;
    ledger.span(ANN, DAY + 90.0, DAY + 100.0).await;
    for (grace, billable) in [("0", "140"), ("19.999999 s", "140"), ("20 s", "160"), ("40 s", "200")] {
        let more = format!(", p_grace => '{grace}'");
        assert_eq!(ledger.bill("billable_seconds", &more).await, billable, "{grace}");
        let more = format!("{ALL_TIME}, 'day', 'UTC', 'exact', '{grace}'");
        assert_eq!(ledger.usage("billable_seconds", &more).await, billable, "by day with {grace}");
        let halves = format!(", {}, null, 'exact', '{grace}'", at(DAY + 60.0));
        let late: f64 = ledger.bill("billable_seconds", &halves).await.parse().expect("a number");
        let halves = format!(", null, {}, 'exact', '{grace}'", at(DAY + 60.0));
        let early: f64 = ledger.bill("billable_seconds", &halves).await.parse().expect("a number");
        assert_eq!((early + late).to_string(), billable, "the grace does not notice where the period is cut: {grace}");
    }
    assert_eq!(ledger.bill("gap_seconds", ", p_grace => '20 s'").await, "40");
    assert_eq!(ledger.bill("overlap_seconds", ", p_grace => '40 s'").await, "0", "a bridged gap is no overlap");
    run(&ledger.store, "update rollcall.tenants set reconnect_grace = '40 s'").await.expect("changes");
    assert_eq!(ledger.bill("billable_seconds", "").await, "200", "the tenant's grace is the default");
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "200");
    assert_eq!(value(&ledger.store, of_all("billable_seconds")).await, "200", "in the list of tenants too");
}

/// A column of the usage of all tenants.
fn of_all(column: &str) -> String {
    format!("select trim_scale(sum(u.{column})) from rollcall.get_usage(null, {ALL_TIME}, 'tenant') u")
}

#[tokio::test]
async fn an_open_span_is_provisional_and_only_grows() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, 0.0, 100.0).await;
    let connection = ledger.open(ANN, 50.0, 80.0).await;
    let (from, to) = (at(0.0), at(DAY));
    let day = format!("{from}, {to}");
    assert_eq!(ledger.usage("billable_seconds", &day).await, "100", "proven until 80 s, which is covered");
    let open = format!("select bool_and(u.is_open) from rollcall.get_usage('{}', {day}) u", ledger.tenant);
    assert_eq!(value(&ledger.store, open).await, "true");
    let mut last = 100.0;
    for evidence in [130.0, 500.5, DAY - 1.0] {
        let sql = format!(
            "update rollcall.participation_spans set last_evidence_at = {} where disconnected_at is null",
            at(evidence)
        );
        run(&ledger.store, sql).await.expect("is heard");
        let billable: f64 = ledger.usage("billable_seconds", &day).await.parse().expect("a number");
        assert!(billable >= last);
        last = billable;
        assert_eq!(billable, evidence);
        for read in [
            ledger.bill("billable_seconds", "").await,
            ledger.usage("billable_seconds", &format!("{day}, 'participant'")).await,
            ledger.usage("billable_seconds", &format!("{day}, 'tenant'")).await,
            ledger.usage("billable_seconds", &format!("{day}, 'day', 'Asia/Kolkata'")).await,
            value(&ledger.store, of_all("billable_seconds")).await,
            value(
                &ledger.store,
                format!("select trim_scale(participant_seconds) from rollcall.get_session_analytics({day})"),
            )
            .await,
        ] {
            assert_eq!(read.parse::<f64>().expect("a number"), evidence);
        }
        assert_eq!(ledger.usage("participants", &day).await, "1");
        assert_eq!(ledger.usage("connections", &day).await, "2");
    }
    ledger.close(connection, DAY - 1.0, "left", 0).await;
    assert_eq!(ledger.usage("billable_seconds", &day).await, (DAY - 1.0).to_string(), "closing changes nothing");
    assert_eq!(ledger.differences().await, "");
}

#[tokio::test]
async fn a_span_without_length_adds_nothing_but_is_counted() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, DAY, DAY).await;
    for rounding in ["exact", "second", "minute_per_connection", "minute_per_participant", "minute_per_session"] {
        let arguments = format!("{ALL_TIME}, 'day', 'UTC', '{rounding}'");
        assert_eq!(ledger.usage("billed_units", &arguments).await, "0", "{rounding}");
    }
    assert_eq!(ledger.usage("connections", ALL_TIME).await, "1");
    let day = format!("select string_agg(u.day::text, ',') from rollcall.get_usage('{}', {ALL_TIME}) u", ledger.tenant);
    assert_eq!(value(&ledger.store, day).await, "2026-03-02", "it lies in the day that begins with it");
    assert_eq!(ledger.differences().await, "");
}

#[tokio::test]
async fn a_clock_that_steps_back_between_epochs_makes_overlap_and_no_extra_time() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, 0.0, 100.0).await;
    ledger.epoch = ledger.store.open_epoch("node-b", now(), LEASE).await.expect("epoch");
    ledger.span(ANN, 95.0, 200.0).await;
    assert_eq!(ledger.bill("billable_seconds", "").await, "200");
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "200");
    assert_eq!(ledger.differences().await, "");
}

#[tokio::test]
async fn pings_alone_are_presence_but_not_activity() {
    let mut ledger = Ledger::new().await;
    // Idle after 60 s without activity; the socket proves itself for 600 s.
    ledger.open(ANN, 0.0, 600.0).await;
    run(&ledger.store, "update rollcall.sessions set started_at = created_at").await.expect("starts");
    run(&ledger.store, "update rollcall.node_epochs set attested_until = now()").await.expect("attests");
    assert_eq!(value(&ledger.store, "select count(*) from rollcall.cleanup_inactive_sessions('0')").await, "1");
    assert_eq!(ledger.bill("billable_seconds", "").await, "60", "present until the session ended idle");
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "60", "the clean-up counts like the flusher");
    assert_eq!(value(&ledger.store, "select shard from rollcall.usage_day").await, "-1");
    assert_eq!(ledger.differences().await, "");
}

#[tokio::test]
async fn a_leave_without_a_join_is_in_the_trail_and_not_on_the_bill() {
    let ledger = Ledger::new().await;
    let participant = ParticipantId(Uuid::from_u128(BOB));
    let facts = [
        SessionFact::ConnectionClosed {
            participant,
            connection: ConnectionId { epoch: ledger.epoch, counter: 9 },
            connected_at: now(),
            reason: LeaveReason::Left,
            uncertainty_us: 0,
        },
        SessionFact::ParticipantLeft { participant, reason: LeaveReason::Left, by: Actor::Server },
    ];
    let records = facts
        .map(|fact| Record { at: now(), fact: Fact::Session { tenant: ledger.tenant, session: ledger.session, fact } });
    let mut conn = ledger.store.dedicated().await.expect("connection");
    apply_batch(&mut conn, ledger.epoch, 1, &records, LEASE).await.expect("applies");
    assert_eq!(value(&ledger.store, "select count(*) from rollcall.session_audit_log").await, "2");
    assert_eq!(ledger.bill("billable_seconds", "").await, "null");
    assert_eq!(value(&ledger.store, "select count(*) from rollcall.participant_coverage").await, "0");
}

#[tokio::test]
async fn a_join_without_a_leave_ends_at_its_last_evidence() {
    let mut ledger = Ledger::new().await;
    let connection = ledger.open(ANN, 0.0, 42.5).await;
    assert_eq!(ledger.bill("billable_seconds", "").await, "42.5");
    // What recovery records; a client that returns then testifies to ten seconds more.
    ledger.close(connection, 42.5, "node_crash", 30_000_000).await;
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "42.5");
    assert_eq!(ledger.usage("uncertainty_seconds", ALL_TIME).await, "30");
    ledger.close(connection, 52.5, "node_crash", 20_000_000).await;
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "52.5");
    assert_eq!(ledger.usage("uncertainty_seconds", ALL_TIME).await, "20", "moved, not added");
    assert_eq!(ledger.usage("connections", ALL_TIME).await, "1");
    assert_eq!(ledger.differences().await, "");
}

#[tokio::test]
async fn a_crash_and_a_resume_elsewhere_leave_the_outage_unbilled() {
    let mut ledger = Ledger::new().await;
    let connection = ledger.open(ANN, 0.0, 100.0).await;
    ledger.close(connection, 100.0, "node_crash", 31_000_000).await;
    ledger.epoch = ledger.store.open_epoch("node-b", now(), LEASE).await.expect("epoch");
    ledger.span(ANN, 130.0, 200.0).await;
    assert_eq!(ledger.bill("billable_seconds", "").await, "170");
    assert_eq!(ledger.bill("gap_seconds", "").await, "30");
    assert_eq!(ledger.usage("participants", ALL_TIME).await, "1", "the same participant");
    assert_eq!(ledger.bill("uncertainty_seconds", "").await, "31");
}

#[tokio::test]
async fn a_session_that_ended_elsewhere_does_not_cut_an_isolated_node_short() {
    let mut ledger = Ledger::new().await;
    let connection = ledger.open(ANN, 0.0, 50.0).await;
    let end =
        format!("update rollcall.sessions set status = 'ended', ended_at = {}, end_reason = 'completed'", at(60.0));
    run(&ledger.store, end).await.expect("ends");
    // The node hears of it late; its own evidence counts.
    ledger.close(connection, 75.0, "session_ended", 0).await;
    assert_eq!(ledger.bill("billable_seconds", "").await, "75");
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "75");
}

#[tokio::test]
async fn a_restored_database_that_is_fed_again_has_the_same_usage() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let session = make_session(&store, tenant, fresh_id(), now()).await;
    let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
    let mut history = History::new(tenant, vec![session], epoch, now());
    for choice in 0..120 {
        history.step(choice * 7_919);
    }
    let mut conn = store.dedicated().await.expect("connection");
    apply_batch(&mut conn, epoch, 1, &history.records, LEASE).await.expect("applies");
    let sums = "select string_agg(c::text, ' ' order by c.participant_id, c.day) from rollcall.participant_coverage c";
    let before = value(&store, sums).await;
    assert_ne!(before, "null");
    // Back to a point where half of it was there, spans and sums alike; the journal feeds the rest again.
    run(
        &store,
        format!(
            "update rollcall.node_epochs set applied_seq = 0 where epoch = {epoch};
             delete from rollcall.participation_spans where epoch = {epoch} and connection % 2 = 0;
             alter table rollcall.session_audit_log disable trigger session_audit_log_append_only;
             delete from rollcall.session_audit_log where epoch = {epoch};
             alter table rollcall.session_audit_log enable always trigger session_audit_log_append_only;
             alter table rollcall.evidence_marks disable trigger evidence_marks_append_only;
             delete from rollcall.evidence_marks where epoch = {epoch};
             alter table rollcall.evidence_marks enable always trigger evidence_marks_append_only;
             alter table rollcall.audit_batches disable trigger audit_batches_append_only;
             delete from rollcall.audit_batches where epoch = {epoch};
             alter table rollcall.audit_batches enable always trigger audit_batches_append_only"
        ),
    )
    .await
    .expect("restores");
    assert_ne!(value(&store, sums).await, before);
    apply_batch(&mut conn, epoch, 1, &history.records, LEASE).await.expect("applies");
    assert_eq!(value(&store, sums).await, before);
    assert_eq!(differences(&store).await, "");
}

#[tokio::test]
async fn a_session_of_three_days_is_billed_in_full() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, 3600.0, 3600.0 + 3.0 * DAY).await;
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "259200", "no cap");
    let days = format!(
        "select string_agg(trim_scale(u.billable_seconds)::text, ' ' order by u.day) from rollcall.get_usage('{}', {ALL_TIME}) u",
        ledger.tenant
    );
    assert_eq!(value(&ledger.store, days).await, "82800 86400 86400 3600");
    let arguments = format!("{ALL_TIME}, 'tenant'");
    assert_eq!(ledger.usage("sessions", &arguments).await, "1");
    assert_eq!(ledger.usage("participants", &arguments).await, "1");
    assert_eq!(ledger.usage("connections", &arguments).await, "1");
    assert_eq!(value(&ledger.store, of_all("connections")).await, "1", "carried over midnight is not a new connection");
    assert_eq!(value(&ledger.store, of_all("participants")).await, "1");
    let later =
        format!("select u.participants from rollcall.get_usage(null, {}, {}, 'tenant') u", at(DAY), at(3.0 * DAY));
    assert_eq!(value(&ledger.store, later).await, "1", "there from before the period");
    assert_eq!(ledger.differences().await, "");
    let too_long = "update rollcall.participation_spans set disconnected_at = connected_at + interval '401 days'";
    assert!(run(&ledger.store, too_long).await.is_err(), "a clock gone wrong");
}

#[tokio::test]
async fn what_a_session_had_before_its_sums_were_kept_is_filled_in() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, 0.0, 90.5).await;
    ledger.span(ANN, 60.0, 150.25).await;
    ledger.span(BOB, DAY - 30.0, DAY + 30.0).await;
    let crashed = ledger.open(BOB, 2.0 * DAY, 2.0 * DAY + 60.0).await;
    ledger.close(crashed, 2.0 * DAY + 60.0, "node_crash", 250_000).await;
    let end = format!(
        "update rollcall.sessions set started_at = {}, status = 'ended', ended_at = {}, end_reason = 'completed'",
        at(0.0),
        at(3.0 * DAY)
    );
    run(&ledger.store, end).await.expect("ends");
    let median = format!(
        "select p50_duration_seconds::integer from rollcall.get_session_analytics({}, {})",
        at(-DAY),
        at(4.0 * DAY)
    );
    let in_kolkata = format!("{ALL_TIME}, 'day', 'Asia/Kolkata', 'second'");
    let exact = format!("{ALL_TIME}, 'day', 'Asia/Kolkata'");
    let before = ledger.usage("billed_units", &in_kolkata).await;
    let people_before = ledger.usage("participants", &exact).await;
    run(
        &ledger.store,
        "update rollcall.session_usage_day
         set first_at = null, last_at = null, connections = 0, connected_us = 0, uncertainty_us = 0, whole_seconds = 0,
             connection_minutes = 0, participant_minutes = 0, quarters = null;
         update rollcall.participant_coverage set quarters = null;
         delete from rollcall.usage_returns;
         delete from rollcall.session_duration_bands_day;
         delete from rollcall.total_duration_bands_day;
         delete from rollcall.total_duration_bands_15m;
         delete from rollcall.total_stats_15m;
         update rollcall.total_15m set participants_new = 0, participants_carried = 0;
         update rollcall.usage_15m
         set uncertainty_us = 0, connections_carried = 0, sessions_new = 0, sessions_carried = 0, participants_new = 0,
             participants_carried = 0, begun_sessions = 0, begun_participants = 0, begun_connections = 0, begun_connected_us = 0, begun_covered_us = 0,
             begun_uncertainty_us = 0, begun_whole_seconds = 0, begun_connection_minutes = 0, begun_participant_minutes = 0,
             begun_session_minutes = 0",
    )
    .await
    .expect("as an earlier version left it");
    assert_ne!(ledger.differences().await, "");
    assert_eq!(value(&ledger.store, &median).await, "null");
    run(&ledger.store, "delete from rollcall.applied_functions where name = 'fill_usage_sums'").await.expect("forgets");
    ledger.store.migrate().await.expect("migrates");
    assert_eq!(ledger.differences().await, "");
    assert_eq!((before.as_str(), ledger.usage("billed_units", &in_kolkata).await.as_str()), ("271", "271"));
    assert_eq!((people_before.as_str(), ledger.usage("participants", &exact).await.as_str()), ("3", "3"));
    assert_eq!(value(&ledger.store, of_all("uncertainty_seconds")).await, "0.25");
    assert_eq!(value(&ledger.store, &median).await, "259200");
}

#[tokio::test]
async fn who_pauses_over_a_bound_counts_on_both_sides_of_it_and_once_in_all() {
    let mut ledger = Ledger::new().await;
    ledger.span(ANN, DAY - 7_200.0, DAY - 3_600.0).await;
    let back = ledger.span(ANN, DAY + 3_600.0, DAY + 3_700.0).await;
    // Connections without length.
    ledger.span(BOB, DAY - 5_000.0, DAY - 5_000.0).await;
    ledger.span(BOB, DAY + 1_800.0, DAY + 1_800.0).await;
    let by_day = format!("{ALL_TIME}, 'day'");
    let as_a_whole = format!("{ALL_TIME}, 'tenant'");
    for (column, on_days, in_all) in [("participants", "4", "2"), ("sessions", "2", "1"), ("connections", "4", "4")] {
        assert_eq!(ledger.usage(column, &by_day).await, on_days, "{column} by day");
        assert_eq!(ledger.usage(column, &as_a_whole).await, in_all, "{column}");
        assert_eq!(value(&ledger.store, of_all(column)).await, in_all, "{column} of all tenants");
        let within_the_pause = format!("{}, {}, 'tenant'", at(DAY - 3_600.0), at(DAY + 1_800.0));
        assert_eq!(ledger.usage(column, &within_the_pause).await, "null", "{column} within the pause");
    }
    let returns = "select sum(participants) || ' and ' || sum(sessions) from rollcall.usage_returns";
    assert_eq!(value(&ledger.store, returns).await, "2 and 2", "Bob's return is the session's, and Ann's once more");
    run(&ledger.store, format!("delete from rollcall.participation_spans where connection = {back}"))
        .await
        .expect("goes");
    assert_eq!(value(&ledger.store, returns).await, "1 and 1");
    assert_eq!(ledger.usage("participants", &by_day).await, "3");
    assert_eq!(ledger.differences().await, "");
}

#[tokio::test]
async fn what_is_proven_up_to_the_end_of_a_period_is_not_open_in_it() {
    let mut ledger = Ledger::new().await;
    ledger.open(ANN, 60.0, 3_600.0).await;
    let is_open = |to: f64| {
        let period = format!("{}, {}", at(0.0), at(to));
        format!("select bool_or(u.is_open) from rollcall.get_usage('{}', {period}, 'tenant') u", ledger.tenant)
    };
    assert_eq!(value(&ledger.store, is_open(3_600.0)).await, "false", "no later evidence can add to it");
    assert_eq!(value(&ledger.store, is_open(3_600.5)).await, "true");
    assert_eq!(value(&ledger.store, is_open(1_800.0)).await, "false");
}
