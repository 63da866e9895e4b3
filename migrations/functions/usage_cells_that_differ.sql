-- Which hours and days a sink was told differently from what the books say now: sums against the counting tables, which
-- move with the spans. These count closed spans only, so a cell with an open one is listed until it closes; the comparison
-- slice by slice then finds nothing. Internal to correct_usage_outbox().
create or replace function rollcall.usage_cells_that_differ(p_sink text)
    returns table (tenant_id uuid, cell timestamptz)
    language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_sink rollcall.usage_sinks;
begin
    select s.* into strict v_sink from rollcall.usage_sinks s where s.sink = p_sink;
    return query
    with known as (
        select u.tenant_id, u.day::timestamp at time zone 'UTC' as cell, sum(u.covered_us) as us
        from rollcall.usage_day u
        where v_sink.slice = 'day' and u.day >= (v_sink.starts_at at time zone 'UTC')::date
          and u.day < (v_sink.filled_through at time zone 'UTC')::date
          and (v_sink.tenant_id is null or u.tenant_id = v_sink.tenant_id)
        group by u.tenant_id, u.day
        union all
        select u.tenant_id, date_trunc('hour', u.bucket, 'UTC'), sum(u.covered_us)
        from rollcall.usage_15m u
        where v_sink.slice = 'hour' and u.bucket >= v_sink.starts_at and u.bucket < v_sink.filled_through
          and (v_sink.tenant_id is null or u.tenant_id = v_sink.tenant_id)
        group by u.tenant_id, 2
    )
    select coalesce(k.tenant_id, c.tenant_id), coalesce(k.cell, c.cell)
    from known k
    full join (select x.tenant_id, x.cell, x.told_us from rollcall.usage_sink_cells x where x.sink = p_sink) c
        on c.tenant_id = k.tenant_id and c.cell = k.cell
    where coalesce(k.us, 0) <> coalesce(c.told_us, 0);
end
$$;

comment on function rollcall.usage_cells_that_differ(text) is
    'Internal: hours and days whose sum in the outbox is not the usage known now.';
