-- The app's own events in the trail of a session. The events of Rollcall itself cannot be written by it, so nobody can
-- forge a join or an end. The participant is not looked up: its join may still be on the way from the journal.
create or replace function rollcall.log_session_event(
    p_session_id uuid,
    p_event_type text,
    p_participant_id uuid default null,
    p_metadata jsonb default '{}',
    p_idempotency_key text default null
) returns bigint
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_tenant uuid;
begin
    perform rollcall.check_may_write('log_session_event');
    select tenant_id into v_tenant from rollcall.sessions where session_id = p_session_id;
    if not found then
        raise exception 'unknown session %', coalesce(p_session_id::text, 'null')
            using errcode = 'no_data_found', hint = 'Look it up in rollcall.sessions.';
    end if;
    if rollcall.is_app_event(p_event_type) is not true then
        raise exception 'event type "%" cannot be logged', coalesce(p_event_type, 'null')
            using errcode = 'invalid_parameter_value',
                  hint = 'Name it app.<name> (a-z, 0-9, _ and ., at most 60 characters), or use one of: note, '
                         'consent_given, consent_withdrawn, recording_started, recording_stopped, dispute_opened, dispute_resolved.';
    end if;
    return rollcall.log_control_event(v_tenant, p_session_id, p_participant_id, p_event_type, 'operator', p_metadata,
                                      null, p_idempotency_key);
end
$$;

comment on function rollcall.log_session_event(uuid, text, uuid, jsonb, text) is
    'Writes an event of the app into the trail of a session; returns its id (seq in epoch 0). The same idempotency key returns the same id.';
