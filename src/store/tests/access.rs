//! Who may do what, and who sees which tenant; on a database prepared the way Supabase prepares one, too.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use super::{database, fresh_id, make_session, make_tenant, now, run, server_url, value, verify};
use crate::store::{Store, StoreOptions};

/// Tables that only grow: the server inserts and reads.
const APPEND_ONLY: &[&str] = &[
    "session_audit_log",
    "evidence_marks",
    "refused_records",
    "usage_outbox",
    "billing_statements",
    "billing_adjustments",
    "audit_batches",
    "audit_log_identity",
    "audit_checkpoints",
    "audit_checkpoint_heads",
    "audit_detached",
];
const SERVER_DELETES: &[&str] = &["participant_pii", "idempotency_keys", "event_keys", "invite_uses"];
const BOTH_READ: &[&str] = &[
    "sessions",
    "participants",
    "participation_spans",
    "participant_coverage",
    "billing_statements",
    "billing_adjustments",
    "node_epochs",
    "tenant_logins",
];
const BILLING_READS: &[&str] = &[
    "session_usage_day",
    "usage_15m",
    "total_15m",
    "usage_day",
    "usage_returns",
    "session_stats_day",
    "session_durations_day",
    "session_duration_bands_day",
    "total_stats_day",
    "total_stats_15m",
    "total_durations_day",
    "total_duration_bands_day",
    "total_duration_bands_15m",
    "usage_sinks",
    "usage_sink_cells",
    "usage_outbox",
];
const AUDITOR_READS: &[&str] = &[
    "session_audit_log",
    "evidence_marks",
    "refused_records",
    "audit_log_all",
    "audit_batches",
    "audit_log_identity",
    "audit_checkpoints",
    "audit_checkpoint_heads",
    "audit_detached",
];
const BOTH_CALL: &[&str] = &[
    "presence_at",
    "time_together",
    "get_billing_watermark",
    "coverage_of",
    "coverage_seconds",
    "time_buckets",
    "check_arguments",
    "check_session",
    "scope_tenant_id",
    "bridge_gaps",
    "us_between",
    "duration_us",
    "duration_bin",
    "duration_shift",
    "check_may_write",
    "log_session_event",
    "cleanup_inactive_sessions",
    "close_billing_period",
];
const BILLING_CALLS: &[&str] = &[
    "get_session_billing_data",
    "get_usage",
    "get_session_analytics",
    "usage_slices",
    "usage_event_id",
    "get_usage_of_tenants",
    "usage_parts",
    "sessions_during",
    "usage_stays",
    "whole_quarters",
    "sessions_in_cut_quarters",
    "usage_flows",
    "adjustments_in",
    "usage_pieces",
    "open_sessions",
    "round_usage",
    "session_outcomes",
    "count_participants",
    "open_minutes",
    "quarter_peaks",
    "presence_sums",
];
const AUDITOR_CALLS: &[&str] = &[
    "verify_audit_chain",
    "verify_audit_triggers",
    "verify_audit_epoch",
    "verify_audit_records",
    "verify_audit_checkpoints",
    "audit_field",
    "audit_leaf",
    "audit_mark_leaf",
    "audit_refused_leaf",
    "audit_leaves",
    "merkle_root",
    "audit_batch_hash",
    "audit_checkpoint_leaf",
];

/// A session with one span in each of two tenants.
async fn two_tenants(store: &Store) -> [(String, String); 2] {
    let epoch = store.open_epoch("node-a", now(), super::LEASE).await.expect("epoch");
    let mut made = Vec::new();
    for number in 1..=2 {
        let tenant = make_tenant(store).await;
        let session = make_session(store, tenant, fresh_id(), now()).await;
        let span = format!(
            "insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
                 connected_at, disconnected_at, last_evidence_at, end_reason)
             values ({epoch}, {number}, '{session}', '{tenant}', gen_random_uuid(), 'guest', to_timestamp(0),
                     to_timestamp(60), to_timestamp(60), 'left');
             select rollcall.log_session_event('{session}', 'note')"
        );
        run(store, span).await.expect("prepares");
        made.push((tenant.to_string(), session.to_string()));
    }
    made.try_into().expect("two")
}

/// What a role sees of a query, with settings made before.
async fn seen(store: &Store, before: &str, query: &str) -> Result<String, sqlx::Error> {
    let mut tx = store.pool.begin().await?;
    tx.execute(sqlx::raw_sql(AssertSqlSafe(before.to_owned()))).await?;
    let text = format!("select coalesce((select x::text from ({query}) as q (x)), 'null')");
    sqlx::query_scalar(AssertSqlSafe(text)).fetch_one(&mut *tx).await
}

#[tokio::test]
async fn a_reader_narrowed_to_a_tenant_sees_nothing_of_another() {
    let store = database().await;
    let [(one, session), (two, other_session)] = two_tenants(&store).await;
    let stranger = fresh_id();
    let with_tenant = "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and a.attname = 'tenant_id' and has_column_privilege('{role}', c.oid, a.attnum, 'select') order by 1";
    for role in ["rollcall_billing", "rollcall_auditor"] {
        let tables = value(
            &store,
            format!("select string_agg(t.relname, ' ') from ({}) t", with_tenant.replace("{role}", role)),
        )
        .await;
        assert!(tables.contains("participation_spans"), "{tables}");
        for table in tables.split(' ').filter(|table| *table != "tenant_logins") {
            let tenants = format!(
                "select string_agg(distinct tenant_id::text, ' ' order by tenant_id::text) from rollcall.{table}"
            );
            let narrowed = |tenant: &str| format!("set local role {role}; set local rollcall.tenant_id = '{tenant}'");
            let all = seen(&store, &format!("set local role {role}"), &tenants).await.expect("reads");
            let mine = seen(&store, &narrowed(&one), &tenants).await.expect("reads");
            let none = seen(&store, &narrowed(&stranger.to_string()), &tenants).await.expect("reads");
            assert_eq!(none, "null", "{table}");
            if all != "null" {
                assert!(all.contains(&one) && all.contains(&two), "{role} sees all of {table}: {all}");
                assert_eq!(mine, one, "{table}");
            }
        }
    }
    let billing = format!("set local role rollcall_billing; set local rollcall.tenant_id = '{one}'");
    let usage = |tenant: &str| {
        format!(
            "select coalesce(sum(billable_seconds), 0)::integer from rollcall.get_usage('{tenant}', to_timestamp(0), now())"
        )
    };
    assert_eq!(seen(&store, &billing, &usage(&one)).await.expect("reads"), "60");
    let error = seen(&store, &billing, &usage(&two)).await.expect_err("not its tenant");
    assert!(error.to_string().contains("unknown tenant"), "{error}");
    let bill = |session: &str| format!("select count(*) from rollcall.get_session_billing_data('{session}')");
    assert_eq!(seen(&store, &billing, &bill(&session)).await.expect("reads"), "1");
    let error = seen(&store, &billing, &bill(&other_session)).await.expect_err("not its session");
    assert!(error.to_string().contains("unknown session"), "{error}");
}

#[tokio::test]
async fn a_bound_login_cannot_widen_what_it_sees() {
    let store = database().await;
    let [(one, _), (two, _)] = two_tenants(&store).await;
    let login = format!("reader_{}", fresh_id().simple());
    run(&store, format!("create role {login} login in role rollcall_billing")).await.expect("a role");
    run(&store, format!("insert into rollcall.tenant_logins values ('{login}', '{one}')")).await.expect("bound");
    let url = value(&store, "select current_database()").await;
    let options = PgConnectOptions::from_str(server_url()).expect("a URL").username(&login).database(&url);
    let mut conn = options.disable_statement_logging().connect().await.expect("logs in");
    for setting in [String::new(), two.clone(), "nonsense".to_owned()] {
        sqlx::query("select set_config('rollcall.tenant_id', $1, false)")
            .bind(&setting)
            .execute(&mut conn)
            .await
            .expect("sets");
        let tenants: Vec<String> =
            sqlx::query_scalar("select distinct tenant_id::text from rollcall.participation_spans")
                .fetch_all(&mut conn)
                .await
                .expect("reads");
        assert_eq!(tenants, [one.as_str()], "with {setting:?}");
    }
    drop(conn);
    run(&store, format!("drop role {login}")).await.expect("dropped");
    let error = seen(
        &store,
        "set local role rollcall_billing; set local rollcall.tenant_id = 'nonsense'",
        "select count(*) from rollcall.sessions",
    )
    .await
    .expect_err("no tenant");
    assert!(error.to_string().contains("not the id of a tenant"), "{error}");
}

#[tokio::test]
async fn a_scope_is_worked_out_once_for_a_statement() {
    let store = database().await;
    let [(one, _), _] = two_tenants(&store).await;
    let before = format!("set local role rollcall_billing; set local rollcall.tenant_id = '{one}'");
    let mut tx = store.pool.begin().await.expect("begins");
    tx.execute(sqlx::raw_sql(AssertSqlSafe(before))).await.expect("sets");
    let plan: Vec<String> = sqlx::query_scalar("explain (costs off) select count(*) from rollcall.participation_spans")
        .fetch_all(&mut *tx)
        .await
        .expect("plans");
    let plan = plan.join("\n");
    assert!(plan.contains("InitPlan") && !plan.contains("SubPlan"), "{plan}");
    tx.rollback().await.expect("rolls back");
    let mut tx = store.pool.begin().await.expect("begins");
    tx.execute("set local role rollcall_server").await.expect("sets");
    let plan: Vec<String> = sqlx::query_scalar("explain (costs off) select count(*) from rollcall.participation_spans")
        .fetch_all(&mut *tx)
        .await
        .expect("plans");
    assert!(!plan.join("\n").contains("Filter"), "the server pays nothing: {plan:?}");
}

#[tokio::test]
async fn a_role_that_may_not_is_told_who_may() {
    let store = database().await;
    let [(_, session), _] = two_tenants(&store).await;
    for (before, call, code) in [
        ("set local role rollcall_billing", format!("log_session_event('{session}', 'note')"), "42501"),
        ("set local role rollcall_auditor", "cleanup_inactive_sessions()".to_owned(), "42501"),
        ("set local transaction_read_only = on", "cleanup_inactive_sessions()".to_owned(), "25006"),
    ] {
        let error = seen(&store, before, &format!("select count(*) from rollcall.{call}")).await.expect_err(&call);
        let error = error.as_database_error().expect("of the database");
        assert_eq!(error.code().as_deref(), Some(code), "{call}: {error}");
        assert!(error.downcast_ref::<sqlx::postgres::PgDatabaseError>().hint().is_some(), "{call}");
    }
}

/// An owner that is no superuser, the roles of the public API, and default privileges that give them everything.
async fn supabase() -> (Store, Store) {
    let admin = super::empty_database().await;
    let owner = format!("owner_{}", fresh_id().simple());
    // The roles are the cluster's: another test may be making them at this moment.
    for role in ["anon", "authenticated", "service_role bypassrls", "authenticator noinherit login"] {
        let made = run(&admin, format!("create role {role}")).await;
        let code = made.err().and_then(|error| error.as_database_error()?.code().map(|code| code.into_owned()));
        assert!(matches!(code.as_deref(), None | Some("42710" | "23505")), "{role}: {code:?}");
    }
    let database = value(&admin, "select current_database()").await;
    let prepare = format!(
        "grant anon, authenticated, service_role to authenticator;
         create role {owner} login createrole createdb;
         alter database {database} owner to {owner};
         alter schema public owner to {owner};
         grant usage on schema public to anon, authenticated, service_role;
         alter default privileges for role {owner} grant all on tables to anon, authenticated, service_role;
         alter default privileges for role {owner} grant all on functions to anon, authenticated, service_role;
         alter default privileges for role {owner} grant all on sequences to anon, authenticated, service_role;
         alter default privileges for role {owner} in schema public grant all on tables to anon, authenticated"
    );
    run(&admin, prepare).await.expect("prepares");
    let (rest, query) = server_url().split_once('?').map_or((server_url(), ""), |(rest, query)| (rest, query));
    let host = rest.split_once("://").expect("a URL").1.rsplit_once('/').expect("a database").0;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let options = StoreOptions {
        database_url: format!("postgres://{owner}@{host}/{database}?{query}").into(),
        max_connections: 3,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(60),
        application_name: "rollcall-test".to_owned(),
    };
    let store = Store::connect(&options).await.expect("the owner logs in");
    store.migrate().await.expect("installs without a superuser");
    (store, admin)
}

#[tokio::test]
async fn on_supabase_every_object_has_exactly_its_privileges() {
    let (store, admin) = supabase().await;
    verify(&store).await.expect("sound for its owner");
    let public = "select count(*) from pg_class where relnamespace = 'public'::regnamespace";
    assert_eq!(value(&store, public).await, "0");
    for role in ["anon", "authenticated", "authenticator"] {
        let usage = format!("select has_schema_privilege('{role}', 'rollcall', 'usage')");
        assert_eq!(value(&admin, usage).await, "false", "{role}");
    }
    let rows = "select string_agg(c.relname || ' ' || c.relkind::text, ',') from pg_class c
                where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')";
    for object in value(&admin, rows).await.split(',') {
        let (name, kind) = object.rsplit_once(' ').expect("two words");
        let rights = if kind == "S" {
            "usage, select, update"
        } else {
            "select, insert, update, delete, truncate, references, trigger"
        };
        let kind_of = if kind == "S" { "sequence" } else { "table" };
        for role in ["anon", "authenticated", "rollcall_server", "rollcall_billing", "rollcall_auditor"] {
            let held = format!(
                "select coalesce(string_agg(r, ' '), '') from unnest(string_to_array('{rights}', ', ')) r
                 where has_{kind_of}_privilege('{role}', 'rollcall.{name}', r)"
            );
            assert_eq!(value(&admin, held).await, expected(role, name, kind), "{role} on {name}");
        }
    }
    let functions = "select string_agg(oid::text || ' ' || proname, ',') from pg_proc where pronamespace = 'rollcall'::regnamespace";
    for function in value(&admin, functions).await.split(',') {
        let (oid, name) = function.split_once(' ').expect("two words");
        for role in ["anon", "authenticated", "rollcall_server", "rollcall_billing", "rollcall_auditor"] {
            let may = match role {
                "rollcall_server" => true,
                "rollcall_billing" => BOTH_CALL.contains(&name) || BILLING_CALLS.contains(&name),
                "rollcall_auditor" => BOTH_CALL.contains(&name) || AUDITOR_CALLS.contains(&name),
                _ => false,
            };
            let held = value(&admin, format!("select has_function_privilege('{role}', {oid}::oid, 'execute')")).await;
            assert_eq!(held, may.to_string(), "{role} on {name}");
        }
    }
    // Partitions made later are as closed as the first.
    run(&store, "select rollcall.ensure_audit_partitions(9)").await.expect("makes partitions");
    verify(&store).await.expect("still sound");
}

fn expected(role: &str, name: &str, kind: &str) -> &'static str {
    let partition = name.starts_with("session_audit_log_");
    match role {
        "rollcall_server" if kind == "S" => "usage update",
        // Rows go in and out through the parent.
        _ if partition => "",
        "rollcall_server" if APPEND_ONLY.contains(&name) => "select insert",
        "rollcall_server" if SERVER_DELETES.contains(&name) => "select insert update delete",
        "rollcall_server" => "select insert update",
        "rollcall_billing" if BOTH_READ.contains(&name) || BILLING_READS.contains(&name) => "select",
        "rollcall_auditor" if BOTH_READ.contains(&name) || AUDITOR_READS.contains(&name) => "select",
        _ => "",
    }
}
