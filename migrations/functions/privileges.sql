-- Who may do what. Re-applied after every migration, so that new objects are covered.
revoke all on schema rollcall from public;
revoke all on all tables in schema rollcall from public;
revoke all on all sequences in schema rollcall from public;
revoke execute on all functions in schema rollcall from public;

do $$
declare
    v_role text;
    v_ledger regclass;
begin
    -- The roles of Supabase's public API. service_role is a matter of the operator: it gets nothing and loses nothing.
    foreach v_role in array array['anon', 'authenticated'] loop
        if exists (select from pg_catalog.pg_roles where rolname = v_role) then
            execute format('revoke all on schema rollcall from %I', v_role);
            execute format('revoke all on all tables in schema rollcall from %I', v_role);
            execute format('revoke all on all sequences in schema rollcall from %I', v_role);
            execute format('revoke all on all functions in schema rollcall from %I', v_role);
        end if;
    end loop;

    if exists (select from pg_catalog.pg_roles where rolname = 'rollcall_server') then
        grant usage on schema rollcall to rollcall_server;
        grant select, insert, update on all tables in schema rollcall to rollcall_server;
        grant delete on rollcall.participant_pii, rollcall.idempotency_keys, rollcall.event_keys,
            rollcall.invite_uses to rollcall_server;
        -- The ledger grows; it does not change.
        for v_ledger in
            select distinct t.tgrelid from pg_catalog.pg_trigger t where t.tgfoid = 'rollcall.deny_change()'::regprocedure
        loop
            execute format('revoke update, delete, truncate on %s from rollcall_server', v_ledger);
        end loop;
        -- Update is for setval(): a node that reinstates its epoch moves the sequence past it.
        grant usage, update on all sequences in schema rollcall to rollcall_server;
        grant execute on all functions in schema rollcall to rollcall_server;
    end if;

    if exists (select from pg_catalog.pg_roles where rolname = 'rollcall_billing') then
        grant usage on schema rollcall to rollcall_billing;
        grant select on rollcall.sessions, rollcall.participants, rollcall.participation_spans, rollcall.node_epochs,
            rollcall.participant_coverage, rollcall.session_usage_day, rollcall.usage_15m, rollcall.total_15m,
            rollcall.usage_day, rollcall.session_stats_day, rollcall.session_durations_day, rollcall.total_durations_day,
            rollcall.billing_statements, rollcall.billing_adjustments
            to rollcall_billing;
        -- Not the salt: with it participant ids could be computed for guessed identities.
        grant select (tenant_id, name, created_at, reconnect_grace) on rollcall.tenants to rollcall_billing;
        grant execute on function
            rollcall.get_session_billing_data(uuid, timestamptz, timestamptz, text, interval),
            rollcall.get_usage(uuid, timestamptz, timestamptz, text, text, text, interval),
            rollcall.get_usage_of_tenants(timestamptz, timestamptz, text, interval),
            rollcall.usage_parts(uuid, timestamptz[], interval),
            rollcall.usage_pieces(uuid[], timestamptz[], boolean, interval),
            rollcall.open_sessions(uuid, timestamptz, timestamptz),
            rollcall.round_usage(text, numeric, numeric),
            rollcall.coverage_of(uuid, uuid, boolean),
            rollcall.bridge_gaps(tstzmultirange, interval),
            rollcall.us_between(timestamptz, timestamptz),
            rollcall.duration_us(timestamptz, timestamptz),
            rollcall.duration_bin(bigint),
            rollcall.get_session_analytics(timestamptz, timestamptz, uuid, text, text),
            rollcall.session_outcomes(uuid, timestamptz, timestamptz),
            rollcall.count_participants(uuid, timestamptz, timestamptz, uuid[]),
            rollcall.open_minutes(uuid[], timestamptz, timestamptz),
            rollcall.quarter_peak(uuid, timestamptz, timestamptz, uuid[]),
            rollcall.presence_sums(uuid, timestamptz, timestamptz, uuid[]),
            rollcall.check_session(uuid),
            rollcall.presence_at(uuid, timestamptz),
            rollcall.time_together(uuid, uuid, uuid),
            rollcall.get_billing_watermark(),
            rollcall.coverage_seconds(tstzmultirange),
            rollcall.time_buckets(text, text, timestamptz, timestamptz),
            rollcall.check_arguments(text, text, timestamptz, timestamptz, interval)
            to rollcall_billing;
    end if;

    if exists (select from pg_catalog.pg_roles where rolname = 'rollcall_auditor') then
        grant usage on schema rollcall to rollcall_auditor;
        grant select on rollcall.session_audit_log, rollcall.evidence_marks, rollcall.refused_records, rollcall.node_epochs, rollcall.sessions,
            rollcall.participants, rollcall.participation_spans, rollcall.audit_log_all, rollcall.audit_batches,
            rollcall.audit_log_identity, rollcall.audit_checkpoints, rollcall.audit_checkpoint_heads, rollcall.audit_detached
            to rollcall_auditor;
        grant select (tenant_id, name, created_at) on rollcall.tenants to rollcall_auditor;
        grant execute on function rollcall.presence_at(uuid, timestamptz), rollcall.check_session(uuid),
            rollcall.get_billing_watermark(),
            rollcall.audit_field(bytea),
            rollcall.audit_leaf(bigint, bigint, timestamptz, uuid, uuid, uuid, text, text, text, jsonb),
            rollcall.audit_mark_leaf(bigint, bigint, timestamptz, integer),
            rollcall.audit_refused_leaf(bigint, bigint, bytea, text),
            rollcall.merkle_root(bytea[]),
            rollcall.audit_batch_hash(bytea, bytea, bigint, bigint, bigint, timestamptz),
            rollcall.audit_leaves(bigint, bigint, bigint),
            rollcall.audit_checkpoint_leaf(integer, bigint, timestamptz, bytea),
            rollcall.verify_audit_records(bigint, bigint, bigint, bytea, text),
            rollcall.verify_audit_epoch(bigint, timestamptz),
            rollcall.verify_audit_checkpoints(bigint, timestamptz),
            rollcall.verify_audit_triggers(),
            rollcall.verify_audit_chain(bigint, timestamptz)
            to rollcall_auditor;
    end if;
end
$$;
