-- Writes one event of the control plane into epoch 0, in the transaction of the change it tells of. Internal: apps use
-- log_session_event().
--
-- The sequence comes from row 0 of node_epochs under its lock, held until commit: commit order is sequence order, so a
-- reader that tails "epoch = 0 and seq > n" never misses an event. Call it last in the transaction, and lock sessions
-- (by id) before: the order of locks is in the first migration.
create or replace function rollcall.log_control_event(
    p_tenant_id uuid,
    p_session_id uuid,
    p_participant_id uuid,
    p_event_type text,
    p_actor text,
    p_metadata jsonb default '{}',
    p_occurred_at timestamptz default null,
    p_idempotency_key text default null
) returns bigint
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_seq bigint;
    v_known_type text;
    v_scope uuid := coalesce(p_session_id, p_tenant_id);
    v_occurred_at timestamptz := coalesce(p_occurred_at, clock_timestamp());
begin
    if not isfinite(v_occurred_at) then
        raise exception 'an event needs a finite time, not %', v_occurred_at
            using errcode = 'invalid_parameter_value', hint = 'Leave it out for now.';
    end if;
    if p_tenant_id is null or p_actor is null then
        raise exception 'an event needs a tenant and an actor' using errcode = 'invalid_parameter_value';
    end if;
    if p_event_type is null
       or p_event_type not in ('tenant_created', 'key_created', 'key_revoked', 'session_created', 'session_updated',
                               'session_extended', 'session_ended', 'session_recovered', 'participant_barred', 'participant_erased',
                               'invite_created', 'invite_revoked')
          and not rollcall.is_app_event(p_event_type) then
        raise exception 'unknown event type "%"', coalesce(p_event_type, 'null')
            using errcode = 'invalid_parameter_value',
                  hint = 'Events of the app are named app.<name>, with a-z, 0-9, _ and . in the name, at most 60 characters.';
    end if;
    if p_metadata is null or jsonb_typeof(p_metadata) <> 'object' then
        raise exception 'metadata must be a JSON object, not %', coalesce(jsonb_typeof(p_metadata), 'SQL null')
            using errcode = 'invalid_parameter_value', hint = 'For example ''{"note": "called back"}''.';
    end if;
    if p_session_id is not null then
        perform from rollcall.sessions s
            where s.session_id = p_session_id and s.tenant_id = p_tenant_id for no key update;
        if not found then
            raise exception 'unknown session %', p_session_id
                using errcode = 'no_data_found', hint = 'Look it up in rollcall.sessions.';
        end if;
        perform from rollcall.participants p
            where p.session_id = p_session_id and p.participant_id = p_participant_id for no key update;
    end if;

    select applied_seq + 1 into strict v_seq from rollcall.node_epochs where epoch = 0 for no key update;
    if p_idempotency_key is not null then
        insert into rollcall.event_keys (scope_id, idempotency_key, seq, event_type)
        values (v_scope, p_idempotency_key, v_seq, p_event_type) on conflict do nothing;
        if not found then
            select k.seq, k.event_type into v_seq, v_known_type from rollcall.event_keys k
            where k.scope_id = v_scope and k.idempotency_key = p_idempotency_key;
            if v_known_type <> p_event_type then
                raise exception 'idempotency key "%" was used for an event of type "%"', p_idempotency_key, v_known_type
                    using errcode = 'unique_violation', hint = 'Use one key for one event.';
            end if;
            return v_seq;
        end if;
    end if;
    update rollcall.node_epochs set applied_seq = v_seq where epoch = 0;
    insert into rollcall.session_audit_log
        (occurred_at, epoch, seq, tenant_id, session_id, participant_id, event_type, actor, metadata, leaf)
    values (v_occurred_at, 0, v_seq, p_tenant_id, p_session_id, p_participant_id, p_event_type, p_actor, p_metadata,
            rollcall.audit_leaf(0, v_seq, v_occurred_at, p_tenant_id, p_session_id, p_participant_id, null, p_event_type,
                                p_actor, p_metadata));
    return v_seq;
end
$$;

comment on function rollcall.log_control_event(uuid, uuid, uuid, text, text, jsonb, timestamptz, text) is
    'Internal: writes one control-plane event into epoch 0 and returns its sequence number.';
