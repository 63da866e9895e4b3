-- Who may do what. Re-applied after every migration, so that new objects are covered: what is not granted here, nobody
-- but the owner has. A test compares every table, function and sequence with a list of its own.
revoke all on schema rollcall from public;
revoke all on all tables in schema rollcall from public;
revoke all on all sequences in schema rollcall from public;
revoke execute on all functions in schema rollcall from public;

do $$
declare
    v_role text;
    v_table regclass;
begin
    -- The roles of Supabase's public API: default privileges of the owner may have given them everything. service_role is a
    -- matter of the operator: it gets nothing and loses nothing.
    -- Ours start from nothing too, so that what an earlier release granted does not stay for ever.
    for v_role in
        select rolname from pg_catalog.pg_roles
        where rolname in ('anon', 'authenticated', 'rollcall_server', 'rollcall_billing', 'rollcall_auditor')
    loop
        execute format('revoke all on schema rollcall from %I', v_role);
        execute format('revoke all on all tables in schema rollcall from %I', v_role);
        execute format('revoke all on all sequences in schema rollcall from %I', v_role);
        execute format('revoke all on all functions in schema rollcall from %I', v_role);
    end loop;

    if exists (select from pg_catalog.pg_roles where rolname = 'rollcall_server') then
        grant usage on schema rollcall to rollcall_server;
        grant select, insert, update on all tables in schema rollcall to rollcall_server;
        grant delete on rollcall.participant_pii, rollcall.idempotency_keys, rollcall.event_keys,
            rollcall.invite_uses to rollcall_server;
        -- What only grows has a trigger that denies changes; nobody needs the privilege either.
        for v_table in
            select distinct t.tgrelid::regclass from pg_catalog.pg_trigger t
            where t.tgfoid = 'rollcall.deny_change()'::regprocedure
        loop
            execute format('revoke update, delete, truncate on %s from rollcall_server', v_table);
        end loop;
        -- Rows go in and out through the parent.
        for v_table in
            select c.oid::regclass from pg_catalog.pg_class c
            where c.relnamespace = 'rollcall'::regnamespace and c.relkind = 'r' and c.relispartition
        loop
            execute format('revoke all on %s from rollcall_server', v_table);
        end loop;
        -- Update is for setval(): a node that reinstates its epoch moves the sequence past it.
        grant usage, update on all sequences in schema rollcall to rollcall_server;
        grant execute on all functions in schema rollcall to rollcall_server;
    end if;
end
$$;

-- What the readers see: tables that exist, functions under all their signatures.
do $$
declare
    c_both constant text[] := array[
        'sessions', 'participants', 'participation_spans', 'participant_coverage', 'billing_statements',
        'billing_adjustments', 'node_epochs', 'tenant_logins'];
    c_billing constant text[] := array[
        'session_usage_day', 'usage_15m', 'total_15m', 'usage_day', 'usage_returns', 'session_stats_day', 'session_durations_day',
        'session_duration_bands_day', 'total_stats_day', 'total_stats_15m', 'total_durations_day',
        'total_duration_bands_day', 'total_duration_bands_15m', 'usage_sinks', 'usage_sink_cells', 'usage_outbox'];
    c_auditor constant text[] := array[
        'session_audit_log', 'evidence_marks', 'refused_records', 'audit_log_all', 'audit_batches', 'audit_log_identity',
        'audit_checkpoints', 'audit_checkpoint_heads', 'audit_detached'];
    c_functions_both constant text[] := array[
        'presence_at', 'time_together', 'get_billing_watermark', 'coverage_of', 'check_session',
        -- Used by these, and by the functions of either.
        'coverage_seconds', 'time_buckets', 'check_arguments', 'scope_tenant_id', 'bridge_gaps', 'us_between', 'duration_us',
        'duration_bin', 'duration_shift',
        -- They refuse a reader themselves, with a sentence that says who may.
        'log_session_event', 'cleanup_inactive_sessions', 'close_billing_period', 'check_may_write'];
    c_functions_billing constant text[] := array[
        'get_session_billing_data', 'get_usage', 'get_session_analytics', 'usage_slices', 'usage_event_id',
        -- Used by these.
        'get_usage_of_tenants', 'usage_parts', 'sessions_during', 'whole_quarters', 'sessions_in_cut_quarters', 'usage_stays',
        'usage_flows', 'usage_pieces', 'adjustments_in', 'open_sessions', 'round_usage', 'session_outcomes',
        'count_participants', 'open_minutes', 'quarter_peaks', 'presence_sums'];
    c_functions_auditor constant text[] := array[
        'verify_audit_chain', 'verify_audit_triggers', 'verify_audit_epoch', 'verify_audit_records',
        'verify_audit_checkpoints', 'audit_field', 'audit_leaf', 'audit_mark_leaf', 'audit_refused_leaf', 'audit_leaves',
        'merkle_root', 'audit_batch_hash', 'audit_checkpoint_leaf'];
    v_role text;
    v_object record;
begin
    for v_role in select rolname from pg_catalog.pg_roles where rolname in ('rollcall_billing', 'rollcall_auditor') loop
        execute format('grant usage on schema rollcall to %I', v_role);
        -- Not the salt: with it participant ids could be computed for guessed identities.
        execute format('grant select (tenant_id, name, created_at, reconnect_grace) on rollcall.tenants to %I', v_role);
        for v_object in
            select c.oid::regclass as name from pg_catalog.pg_class c
            where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p', 'v')
              and c.relname = any (c_both || case v_role when 'rollcall_billing' then c_billing else c_auditor end)
        loop
            execute format('grant select on %s to %I', v_object.name, v_role);
        end loop;
        for v_object in
            select p.oid::regprocedure as name from pg_catalog.pg_proc p
            where p.pronamespace = 'rollcall'::regnamespace
              and p.proname = any (c_functions_both
                                   || case v_role when 'rollcall_billing' then c_functions_billing else c_functions_auditor end)
        loop
            execute format('grant execute on function %s to %I', v_object.name, v_role);
        end loop;
    end loop;
end
$$;

-- Row-level security on every table that has a tenant. The owner is not subject to it, and for the server the condition is
-- the constant true, which costs nothing. Partitions are reached through their parent only.
do $$
declare
    c_readers constant text := 'rollcall_billing, rollcall_auditor';
    -- Once in a statement: a sub-select that depends on nothing is worked out before the first row.
    c_tenant constant text := '(select rollcall.scope_tenant_id()) is null or tenant_id = (select rollcall.scope_tenant_id())';
    -- Rows of many tenants in one: sums over all, and refused records, which are kept whole.
    c_mixed constant text[] := array[
        'refused_records', 'total_15m', 'total_stats_day', 'total_stats_15m', 'total_durations_day', 'total_duration_bands_day',
        'total_duration_bands_15m'];
    v_table record;
begin
    for v_table in
        select c.oid::regclass as name, c.relname, c.relrowsecurity,
               case when c.relname = 'tenant_logins' then 'login = session_user'
                    when c.relname = any (c_mixed) then '(select rollcall.scope_tenant_id()) is null'
                    else c_tenant end as condition
        from pg_catalog.pg_class c
        where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and (c.relname = any (c_mixed)
               or exists (select from pg_catalog.pg_attribute a
                          where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped))
    loop
        -- Both take a lock that waits for every reader, so they are done once and not at every migrate run.
        if not v_table.relrowsecurity then
            execute format('alter table %s enable row level security', v_table.name);
        end if;
        if not exists (select from pg_catalog.pg_policy where polrelid = v_table.name and polname = 'server')
           and exists (select from pg_catalog.pg_roles where rolname = 'rollcall_server') then
            execute format('create policy server on %s to rollcall_server using (true) with check (true)', v_table.name);
        end if;
        if not exists (select from pg_catalog.pg_policy where polrelid = v_table.name and polname = 'tenant')
           and (select count(*) from pg_catalog.pg_roles where rolname in ('rollcall_billing', 'rollcall_auditor')) = 2 then
            execute format('create policy tenant on %s for select to %s using (%s)',
                           v_table.name, c_readers, v_table.condition);
        end if;
    end loop;
end
$$;
