//! Random spans in random order, against the oracle.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rollcall_core::{SessionId, TenantId, Timestamp};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::super::{LEASE, now, value};
use super::oracle::{ROUNDINGS, Span, Totals, peak, union, usage};
use super::{MARCH, database, differences, fresh_id, make_session, make_tenant};
use crate::store::Store;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// India is 5 h 30 min ahead of UTC, all year round.
const KOLKATA: i64 = 19_800 * SECOND;

/// A span and how it comes in: at once, or opened and closed later, or closed too early first.
#[derive(Debug, Clone)]
struct Fact {
    span: Span,
    way: u8,
    order: u32,
}

fn facts() -> impl Strategy<Value = Vec<Fact>> {
    // A few instants, so that spans touch and overlap; lengths from nothing to a day and a half.
    let length = prop_oneof![Just(0), 1..90 * SECOND, 0..4 * 3_600 * SECOND, Just(1_800 * SECOND), DAY..DAY * 3 / 2];
    let fact = (0..3_usize, 1..4_u128, 0..400_i64, length, 0..2 * SECOND, 0..5_u8, any::<u32>());
    let fact = fact.prop_map(|(session, person, start, length, odd, way, order)| {
        let from = MARCH * SECOND + start * 900 * SECOND + if start % 3 == 0 { 0 } else { odd };
        let span = Span { session, person, from, to: from + length, uncertainty: odd, open: way == 4 };
        Fact { span, way, order }
    });
    proptest::collection::vec(fact, 1..40)
}

#[test]
fn usage_equals_the_oracle_however_the_facts_arrive() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let store = runtime.block_on(database());
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let cuts = (0..500_i64, 1..300_i64, 0..SECOND);
    let outcome = runner.run(&(facts(), cuts, 0..3_u8), |(facts, (from, length, odd), grace)| {
        let from = MARCH * SECOND + from * 900 * SECOND + odd;
        let period = (from, from + length * 1_800 * SECOND);
        let grace = [0, 30 * SECOND, 3_600 * SECOND][usize::from(grace)];
        runtime.block_on(check(&store, &facts, period, grace));
        Ok(())
    });
    outcome.expect("the books agree with the oracle");
    assert_eq!(runtime.block_on(differences(&store)), "");
}

async fn check(store: &Store, facts: &[Fact], period: (i64, i64), grace: i64) {
    let (tenant, sessions) = write(store, facts).await;
    let spans: Vec<Span> = facts.iter().map(|fact| fact.span).collect();
    let whole = (MARCH * SECOND - DAY, MARCH * SECOND + 9 * DAY);
    for rounding in ROUNDINGS {
        // Cut in the middle of days, whole days, days of another zone, and by session, participant and tenant.
        for (group, zone, offset, (from, to), grace) in [
            ("day", "UTC", 0, period, 0),
            ("day", "UTC", 0, whole, 0),
            ("day", "Asia/Kolkata", KOLKATA, whole, 0),
            ("day", "Asia/Kolkata", KOLKATA, period, grace),
            ("session", "UTC", 0, whole, 0),
            ("participant", "UTC", 0, period, grace),
            ("tenant", "UTC", 0, whole, grace),
        ] {
            let expected = expected(&spans, group, offset, (from, to), rounding, grace);
            let arguments = format!(
                "'{tenant}', {}, {}, '{group}', '{zone}', '{rounding}', {grace} * interval '1 us'",
                instant(from),
                instant(to)
            );
            let found = rows(store, &arguments, rounding).await;
            assert_eq!(found, expected, "{arguments}");
        }
    }
    // All tenants, in whole days and in days cut: before and after noon, at quarters of an hour and anywhere.
    let march = MARCH * SECOND;
    let cut =
        [(5, 18), (18, 5), (25, 12)].map(|(head, tail)| (march + head * DAY / 24, march + 3 * DAY + tail * DAY / 24));
    let all = cut.into_iter().chain([whole, (march + DAY, march + 2 * DAY), period, (period.0, period.1 + 2 * DAY)]);
    for (from, to) in all {
        let arguments = format!("null, {}, {}, 'tenant'", instant(from), instant(to));
        let found = rows_where(store, &arguments, "exact", &format!("u.tenant_id = '{tenant}'")).await;
        assert_eq!(found, expected(&spans, "tenant", 0, (from, to), "exact", 0), "{arguments}");
    }
    for (index, session) in sessions.iter().enumerate() {
        let of_session: Vec<Span> = spans.iter().copied().filter(|span| span.session == index).collect();
        check_bill(store, *session, &of_session, period, grace).await;
    }
    check_analytics(store, tenant, &spans, &[period, whole]).await;
}

/// The rows that get_usage must give, in order.
fn expected(spans: &[Span], group: &str, offset: i64, period: (i64, i64), rounding: &str, grace: i64) -> Vec<Totals> {
    let (from, to) = period;
    let mut rows = Vec::new();
    let mut push = |spans: &[Span], from, to| {
        let totals = usage(spans, from, to, rounding, grace);
        if totals.1 > 0 {
            rows.push(totals);
        }
    };
    match group {
        "day" => {
            let mut lower = from;
            while lower < to {
                let midnight = (lower + offset).div_euclid(DAY) * DAY + DAY - offset;
                push(spans, lower, midnight.min(to));
                lower = midnight;
            }
        }
        "session" => {
            for session in 0..3 {
                let of: Vec<Span> = spans.iter().copied().filter(|span| span.session == session).collect();
                push(&of, from, to);
            }
        }
        "participant" => return by_participant(spans, period, rounding, grace),
        _ => push(spans, from, to),
    }
    rows.sort_unstable();
    rows
}

/// The minutes of a session are dealt out to its participants one after the other.
fn by_participant(spans: &[Span], (from, to): (i64, i64), rounding: &str, grace: i64) -> Vec<Totals> {
    let mut rows = Vec::new();
    for session in 0..3 {
        let mut before = Vec::new();
        for person in 1..4 {
            let of = |span: &&Span| span.session == session && span.person == person;
            let own: Vec<Span> = spans.iter().filter(of).copied().collect();
            let mut totals = usage(&own, from, to, rounding, grace);
            let until_then = usage(&before, from, to, rounding, grace).6;
            before.extend(own);
            if rounding == "minute_per_session" {
                totals.6 = usage(&before, from, to, rounding, grace).6 - until_then;
            }
            if totals.1 > 0 {
                rows.push(totals);
            }
        }
    }
    rows.sort_unstable();
    rows
}

async fn rows(store: &Store, arguments: &str, rounding: &str) -> Vec<Totals> {
    rows_where(store, arguments, rounding, "true").await
}

async fn rows_where(store: &Store, arguments: &str, rounding: &str, filter: &str) -> Vec<Totals> {
    let unit = if rounding == "exact" { 1_000_000 } else { 1 };
    let sql = format!(
        "select u.sessions, u.participants, u.connections, (u.connected_seconds * 1000000)::bigint,
                ((u.connected_seconds - u.overlap_seconds) * 1000000)::bigint, (u.billable_seconds * 1000000)::bigint,
                (u.billed_units * {unit})::bigint, (u.uncertainty_seconds * 1000000)::bigint, u.is_open
         from rollcall.get_usage({arguments}) u where {filter}"
    );
    let mut rows: Vec<Totals> =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&store.pool).await.expect("usage is readable");
    rows.sort_unstable();
    rows
}

async fn check_bill(store: &Store, session: SessionId, spans: &[Span], (from, to): (i64, i64), grace: i64) {
    for rounding in ROUNDINGS {
        let unit = if rounding == "exact" { 1_000_000 } else { 1 };
        let sql = format!(
            "select count(b.participant_id), coalesce(sum(b.connections), 0)::bigint,
                    coalesce(sum(b.connected_seconds) * 1000000, 0)::bigint,
                    coalesce(sum(b.connected_seconds - b.overlap_seconds) * 1000000, 0)::bigint,
                    coalesce(sum(b.billable_seconds) * 1000000, 0)::bigint,
                    coalesce(sum(b.billed_units) * {unit}, 0)::bigint,
                    coalesce(sum(b.uncertainty_seconds) * 1000000, 0)::bigint, coalesce(bool_or(b.is_open), false)
             from rollcall.get_session_billing_data('{session}', {}, {}, '{rounding}', {grace} * interval '1 us') b
             where b.connections > 0",
            instant(from),
            instant(to)
        );
        let found: (i64, i64, i64, i64, i64, i64, i64, bool) =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&store.pool).await.expect("a bill is readable");
        let (sessions, people, connections, connected, covered, billable, units, uncertainty, open) =
            usage(spans, from, to, rounding, grace);
        assert!(sessions <= 1);
        assert_eq!(found, (people, connections, connected, covered, billable, units, uncertainty, open), "{rounding}");
    }
}

async fn check_analytics(store: &Store, tenant: TenantId, spans: &[Span], periods: &[(i64, i64)]) {
    for (from, to) in periods {
        let sql = format!(
            "select a.participants, (a.participant_seconds * 1000000)::bigint, a.peak_concurrent
             from rollcall.get_session_analytics({}, {}, '{tenant}') a",
            instant(*from),
            instant(*to)
        );
        let found: (i64, i64, i64) =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&store.pool).await.expect("analytics are readable");
        let totals = usage(spans, *from, *to, "exact", 0);
        assert_eq!((found.0, found.1), (totals.1, totals.4), "participants and their time");
        let highest = peak(spans, *from, *to);
        assert!(found.2 <= highest, "a peak of {} where there were {highest}", found.2);
        assert!(found.2 >= at_full_minutes(spans, *from, *to), "no minute had more than the peak");
        for (bucket, zone) in [("day", "UTC"), ("day", "Asia/Kathmandu"), ("week", "UTC")] {
            // A bucket says what its period says when it is asked for alone.
            let sql = format!(
                "select count(*) filter (where (b.participants, b.participant_seconds, b.peak_concurrent)
                                               is distinct from (a.participants, a.participant_seconds, a.peak_concurrent))
                 from (values ('{tenant}'::uuid), (null)) as t (tenant_id),
                      lateral (select x.*, lead(x.bucket, 1, {to}) over (order by x.bucket) as upper_at
                               from rollcall.get_session_analytics({from}, {to}, t.tenant_id, '{bucket}', '{zone}') x) b,
                      lateral rollcall.get_session_analytics(b.bucket, b.upper_at, t.tenant_id) a",
                from = instant(*from),
                to = instant(*to)
            );
            assert_eq!(value(store, sql).await, "0", "{bucket}s of {zone}");
            // All tenants are the sum of each.
            let sql = format!(
                "select count(*)
                 from (select a.bucket, sum(a.participants) as participants, sum(a.participant_seconds) as seconds,
                              sum(a.ended) as ended
                       from rollcall.tenants t,
                            lateral rollcall.get_session_analytics({from}, {to}, t.tenant_id, '{bucket}', '{zone}') a
                       group by a.bucket) t
                 join rollcall.get_session_analytics({from}, {to}, null, '{bucket}', '{zone}') a using (bucket)
                 where (a.participants, a.participant_seconds, a.ended)
                       is distinct from (t.participants, t.seconds, t.ended)",
                from = instant(*from),
                to = instant(*to)
            );
            assert_eq!(value(store, sql).await, "0", "{bucket}s of {zone}, all tenants");
        }
    }
}

fn at_full_minutes(spans: &[Span], from: i64, to: i64) -> i64 {
    let minute = 60 * SECOND;
    let mut present: std::collections::BTreeMap<i64, i64> = std::collections::BTreeMap::new();
    for session in 0..3 {
        for person in 1..4 {
            let own = spans.iter().filter(|span| span.session == session && span.person == person);
            let pieces: Vec<_> = own.map(|span| (span.from, span.to)).collect();
            for (start, end) in union(&pieces, 0) {
                let first = (start.max(from) + minute - 1).div_euclid(minute);
                let last = (end.min(to) - 1).div_euclid(minute);
                (first..=last).for_each(|at| *present.entry(at).or_default() += 1);
            }
        }
    }
    present.values().copied().max().unwrap_or(0)
}

pub fn instant(us: i64) -> String {
    format!("'epoch'::timestamptz + {us} * interval '1 us'")
}

/// Brings the facts in, each on its way, in the order of chance, several in a statement.
async fn write(store: &Store, facts: &[Fact]) -> (TenantId, Vec<SessionId>) {
    let tenant = make_tenant(store).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(make_session(store, tenant, fresh_id(), Timestamp(MARCH * SECOND)).await);
    }
    let epoch = store.open_epoch(&fresh_id().to_string(), now(), LEASE).await.expect("epoch");
    let mut ordered: Vec<(usize, &Fact)> = facts.iter().enumerate().collect();
    ordered.sort_by_key(|(_, fact)| fact.order);
    let insert = |(index, fact): &(usize, &Fact)| {
        let Span { session, person, from, to, uncertainty, .. } = fact.span;
        let early = match fact.way {
            0 | 1 => Some(to),
            2 => Some(from + (to - from) / 2),
            _ => None,
        };
        let end = early.map_or("null, null".to_owned(), |end| format!("{}, 'node_crash'", instant(end)));
        format!(
            "({epoch}, {index}, '{}', '{tenant}', '{}', 'guest', {}, {end}, {}, {})",
            sessions[session],
            Uuid::from_u128(person),
            instant(from),
            instant(to),
            if fact.way <= 1 || fact.way == 4 { uncertainty } else { 7 }
        )
    };
    for chunk in ordered.chunks(7) {
        let rows: Vec<String> = chunk.iter().map(insert).collect();
        let sql = format!(
            "insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
                 connected_at, disconnected_at, end_reason, last_evidence_at, uncertainty_us)
             values {} on conflict do nothing",
            rows.join(", ")
        );
        // Twice: what is there already changes nothing.
        super::run(store, sql.clone()).await.expect("inserts");
        super::run(store, sql).await.expect("inserts nothing");
    }
    ordered.reverse();
    for (index, fact) in ordered.iter().filter(|(_, fact)| fact.way == 2 || fact.way == 3) {
        let sql = format!(
            "update rollcall.participation_spans set disconnected_at = {}, end_reason = 'left', uncertainty_us = {}
             where epoch = {epoch} and connection = {index}",
            instant(fact.span.to),
            fact.span.uncertainty
        );
        super::run(store, sql).await.expect("closes");
    }
    (tenant, sessions)
}
