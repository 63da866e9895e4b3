-- Puts into the outbox what is complete and not told yet, oldest first, at most p_cells hours or days in one call: one
-- transaction, so whoever is killed between two calls has lost nothing and doubled nothing. One call at a time for a
-- sink: the others wait. is_done tells whether the outbox is up to the watermark.
create or replace function rollcall.fill_usage_outbox(
    p_sink text, p_cells integer default 31, out added bigint, out is_done boolean, out filled_through timestamptz
)
    language plpgsql volatile set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    -- A call ends after this many events, too, so that a busy month is not one transaction.
    c_events_enough constant bigint := 50000;
    v_sink rollcall.usage_sinks;
    v_position bigint;
    v_step interval;
    v_horizon timestamptz;
    v_left integer := p_cells;
begin
    perform rollcall.check_may_write('fill_usage_outbox');
    if p_cells is null or p_cells < 1 then
        raise exception 'p_cells is %, but must be at least 1', coalesce(p_cells::text, 'null')
            using errcode = 'invalid_parameter_value', hint = 'It bounds the work of one call.';
    end if;
    select s.* into v_sink from rollcall.usage_sinks s where s.sink = p_sink for update;
    if not found then
        raise exception 'unknown sink "%"', coalesce(p_sink, 'null')
            using errcode = 'no_data_found', hint = 'Make it with rollcall.add_usage_sink(), or look into rollcall.usage_sinks.';
    end if;
    v_position := v_sink.position;
    v_step := case v_sink.slice when 'hour' then interval '1 hour' else interval '24 hours' end;
    filled_through := v_sink.filled_through;
    select date_trunc(v_sink.slice, w.complete_through, 'UTC') into v_horizon from rollcall.get_billing_watermark() w;
    while filled_through < v_horizon and v_left > 0 and v_position - v_sink.position < c_events_enough loop
        v_position := rollcall.fill_usage_cell(v_sink, v_sink.tenant_id, filled_through, v_position);
        filled_through := filled_through + v_step;
        v_left := v_left - 1;
    end loop;
    update rollcall.usage_sinks s set position = v_position, filled_through = fill_usage_outbox.filled_through
    where s.sink = p_sink;
    added := v_position - v_sink.position;
    is_done := filled_through >= v_horizon;
end
$$;

comment on function rollcall.fill_usage_outbox(text, integer) is
    'Puts complete usage that a sink was not told yet into its outbox.';
