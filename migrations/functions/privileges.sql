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
        grant select on rollcall.sessions, rollcall.participants, rollcall.participation_spans, rollcall.node_epochs
            to rollcall_billing;
        -- Not the salt: with it participant ids could be computed for guessed identities.
        grant select (tenant_id, name, created_at) on rollcall.tenants to rollcall_billing;
        grant execute on function
            rollcall.get_session_billing_data(uuid, timestamptz, timestamptz, text),
            rollcall.get_usage(uuid, timestamptz, timestamptz, text, text, text),
            rollcall.get_session_analytics(timestamptz, timestamptz, uuid, text, text),
            rollcall.presence_at(uuid, timestamptz),
            rollcall.time_together(uuid, uuid, uuid),
            rollcall.get_billing_watermark(),
            rollcall.coverage_seconds(tstzmultirange),
            rollcall.clipped_spans(uuid, uuid, timestamptz, timestamptz),
            rollcall.time_buckets(text, text, timestamptz, timestamptz),
            rollcall.check_arguments(text, text, timestamptz, timestamptz)
            to rollcall_billing;
    end if;

    if exists (select from pg_catalog.pg_roles where rolname = 'rollcall_auditor') then
        grant usage on schema rollcall to rollcall_auditor;
        grant select on rollcall.session_audit_log, rollcall.evidence_marks, rollcall.refused_records, rollcall.node_epochs, rollcall.sessions,
            rollcall.participants, rollcall.participation_spans, rollcall.audit_log_all, rollcall.audit_batches,
            rollcall.audit_log_identity, rollcall.audit_checkpoints, rollcall.audit_checkpoint_heads, rollcall.audit_detached
            to rollcall_auditor;
        grant select (tenant_id, name, created_at) on rollcall.tenants to rollcall_auditor;
        grant execute on function rollcall.presence_at(uuid, timestamptz), rollcall.get_billing_watermark(),
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
