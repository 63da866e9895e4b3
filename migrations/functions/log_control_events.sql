-- Many events of the control plane at once, with the same care as log_control_event() and one turn of row 0 of
-- node_epochs instead of one each: the row of the sequence would be rewritten for every event, each time slower. The
-- sessions must exist and be locked by the caller. Returns how many.
create or replace function rollcall.log_control_events(
    p_tenant_ids uuid[], p_session_ids uuid[], p_event_type text, p_actor text, p_metadata jsonb[], p_occurred_at timestamptz[]
) returns bigint
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_seq bigint;
    v_count bigint := cardinality(p_session_ids);
begin
    if v_count = 0 then
        return 0;
    end if;
    update rollcall.node_epochs set applied_seq = applied_seq + v_count where epoch = 0
    returning applied_seq - v_count into strict v_seq;
    insert into rollcall.session_audit_log
        (occurred_at, epoch, seq, tenant_id, session_id, event_type, actor, metadata, leaf)
    select e.occurred_at, 0, v_seq + e.place, e.tenant_id, e.session_id, p_event_type, p_actor, e.metadata,
           rollcall.audit_leaf(0, v_seq + e.place, e.occurred_at, e.tenant_id, e.session_id, null, null, p_event_type,
                               p_actor, e.metadata)
    from unnest(p_tenant_ids, p_session_ids, p_metadata, p_occurred_at) with ordinality
        as e (tenant_id, session_id, metadata, occurred_at, place)
    order by e.place;
    return v_count;
end
$$;

comment on function rollcall.log_control_events(uuid[], uuid[], text, text, jsonb[], timestamptz[]) is
    'Internal: writes one event for each of many sessions into epoch 0; for cleanup_inactive_sessions.';
