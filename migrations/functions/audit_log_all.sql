-- The audit log with the partitions that were detached and are still there, for the verifier and for auditors. Made anew
-- whenever a partition is detached.
create or replace function rollcall.refresh_audit_log_all() returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_columns constant text :=
        'occurred_at, epoch, seq, tenant_id, session_id, participant_id, connection, event_type, actor, metadata, recorded_at, leaf';
    -- It is read with the rights of its owner, so row-level security does not narrow it: whoever is narrowed gets nothing.
    v_scope constant text := ' where (select rollcall.scope_tenant_id()) is null';
    v_sources text := format('select %s from rollcall.session_audit_log', v_columns) || v_scope;
    v_name text;
begin
    for v_name in
        select distinct d.partition_name from rollcall.audit_detached d
        where to_regclass(format('rollcall.%I', d.partition_name)) is not null
          -- Attached again, it is read with its parent.
          and not exists (select from pg_catalog.pg_inherits i
                          where i.inhrelid = to_regclass(format('rollcall.%I', d.partition_name)))
        order by 1
    loop
        v_sources := v_sources || format(' union all select %s from rollcall.%I', v_columns, v_name) || v_scope;
    end loop;
    execute 'create or replace view rollcall.audit_log_all as ' || v_sources;
end
$$;

comment on function rollcall.refresh_audit_log_all() is 'Internal: makes the view audit_log_all over what is detached now.';

select rollcall.refresh_audit_log_all();
comment on view rollcall.audit_log_all is
    'session_audit_log and the partitions detached from it that are still in the database. It shows all tenants.';

-- A number, the leaf that is stored with it, and the leaf that its columns give.
create or replace function rollcall.audit_leaves(p_epoch bigint, p_first_seq bigint, p_last_seq bigint)
    returns table (seq bigint, leaf bytea, expected bytea)
    language sql stable parallel safe
begin atomic
    select a.seq, a.leaf, rollcall.audit_leaf(a.epoch, a.seq, a.occurred_at, a.tenant_id, a.session_id, a.participant_id,
                                              a.connection, a.event_type, a.actor, a.metadata)
    from rollcall.audit_log_all a where a.epoch = p_epoch and a.seq between p_first_seq and p_last_seq
    union all
    select m.seq, m.leaf, rollcall.audit_mark_leaf(m.epoch, m.seq, m.marked_at, m.connections)
    from rollcall.evidence_marks m where m.epoch = p_epoch and m.seq between p_first_seq and p_last_seq
    union all
    select r.seq, r.leaf, rollcall.audit_refused_leaf(r.epoch, r.seq, r.body, r.error)
    from rollcall.refused_records r where r.epoch = p_epoch and r.seq between p_first_seq and p_last_seq;
end;

comment on function rollcall.audit_leaves(bigint, bigint, bigint) is
    'Internal: the records of an epoch with the leaf that is stored and the leaf that their columns give.';
