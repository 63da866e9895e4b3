-- Adds to the outbox what came to light after its hour or day was told: more usage as events of kind late, less as
-- retractions. Compares sums first and slices only where these differ, so it is quick when there is nothing to correct.
create or replace function rollcall.correct_usage_outbox(p_sink text, out added bigint)
    language plpgsql volatile set search_path = pg_catalog, pg_temp set jit = off as $$
declare
    v_sink rollcall.usage_sinks;
    v_position bigint;
    v_differs record;
begin
    perform rollcall.check_may_write('correct_usage_outbox');
    select s.* into v_sink from rollcall.usage_sinks s where s.sink = p_sink for update;
    if not found then
        raise exception 'unknown sink "%"', coalesce(p_sink, 'null')
            using errcode = 'no_data_found', hint = 'Make it with rollcall.add_usage_sink(), or look into rollcall.usage_sinks.';
    end if;
    v_position := v_sink.position;
    for v_differs in
        select d.tenant_id, d.cell from rollcall.usage_cells_that_differ(p_sink) d order by d.cell, d.tenant_id
    loop
        v_position := rollcall.fill_usage_cell(v_sink, v_differs.tenant_id, v_differs.cell, v_position);
    end loop;
    update rollcall.usage_sinks s set position = v_position where s.sink = p_sink;
    added := v_position - v_sink.position;
end
$$;

comment on function rollcall.correct_usage_outbox(text) is
    'Tells a sink what is different from what it was told; returns the number of events added.';
