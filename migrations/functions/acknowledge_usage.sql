-- The receiver has everything up to p_position. Only ever moves forward; saying it again changes nothing.
create or replace function rollcall.acknowledge_usage(p_sink text, p_position bigint) returns bigint
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_newest bigint;
    v_acknowledged bigint;
begin
    perform rollcall.check_may_write('acknowledge_usage');
    select position into v_newest from rollcall.usage_sinks where sink = p_sink for update;
    if not found then
        raise exception 'unknown sink "%"', coalesce(p_sink, 'null')
            using errcode = 'no_data_found', hint = 'Look into rollcall.usage_sinks.';
    end if;
    if p_position is null or p_position < 0 or p_position > v_newest then
        raise exception 'sink "%" cannot acknowledge %: its newest event is %', p_sink, coalesce(p_position::text, 'null'), v_newest
            using errcode = 'invalid_parameter_value', hint = 'Give the position of the last event that was received.';
    end if;
    update rollcall.usage_sinks
    set acknowledged = greatest(acknowledged, p_position),
        acknowledged_at = case when p_position > acknowledged then clock_timestamp() else acknowledged_at end
    where sink = p_sink
    returning acknowledged into v_acknowledged;
    return v_acknowledged;
end
$$;

comment on function rollcall.acknowledge_usage(text, bigint) is
    'Records that a sink has all events up to a position; returns how far it has acknowledged.';
