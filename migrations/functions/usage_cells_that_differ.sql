-- Which hours and days a sink was told differently from what the books say now. Internal to fill_usage_outbox().
create or replace function rollcall.usage_cells_that_differ(p_sink text)
    returns table (tenant_id uuid, cell timestamptz)
    language sql stable set search_path = pg_catalog, pg_temp set jit = off as $$
    with sink as (
        select s.*, case s.slice when 'hour' then interval '1 hour' else interval '24 hours' end as step
        from rollcall.usage_sinks s where s.sink = p_sink
    ), span as (
        select c.tenant_id, c.session_id, c.participant_id, range_agg(c.covered) as ranges
        from sink k cross join rollcall.clipped_spans(k.tenant_id, null, k.starts_at, k.filled_through) c
        where k.starts_at < k.filled_through
        group by c.tenant_id, c.session_id, c.participant_id
    ), known as (
        select s.tenant_id, g.cell,
               sum(extract(epoch from least(upper(r), g.cell + k.step) - greatest(lower(r), g.cell)) * 1000000)::bigint as us
        from sink k cross join span s cross join unnest(s.ranges) r
        cross join lateral generate_series(date_trunc(k.slice, lower(r), 'UTC'), upper(r) - interval '1 microsecond', k.step) as g (cell)
        group by s.tenant_id, g.cell
    )
    select coalesce(k.tenant_id, c.tenant_id), coalesce(k.cell, c.cell)
    from known k
    full join (select * from rollcall.usage_sink_cells x where x.sink = p_sink) c on c.tenant_id = k.tenant_id and c.cell = k.cell
    where coalesce(k.us, 0) <> coalesce(c.told_us, 0)
$$;

comment on function rollcall.usage_cells_that_differ(text) is
    'Internal: hours and days whose sum in the outbox is not the usage known now.';
