-- Brings the outbox of a sink in step with the usage of one hour or day: what is known now and was not told is added, what
-- was told and is not so any more is taken back whole. Both are set differences, so calling it again adds nothing.
-- Internal to fill_usage_outbox(), which holds the row of the sink.
create or replace function rollcall.fill_usage_cell(
    p_sink rollcall.usage_sinks, p_tenant_id uuid, p_cell timestamptz, inout p_position bigint
)
    language plpgsql volatile set search_path = pg_catalog, pg_temp set jit = off as $$
declare
    v_end timestamptz := p_cell + case p_sink.slice when 'hour' then interval '1 hour' else interval '24 hours' end;
    v_count bigint;
    v_is_new boolean := p_cell >= p_sink.filled_through;
begin
    -- The microseconds of a slice belong to it alone, so what stands is every slice that nothing reverses.
    with told as materialized (
        select o.* from rollcall.usage_outbox o
        where not v_is_new and o.sink = p_sink.sink and o.slice_start >= p_cell and o.slice_start < v_end
          and (p_tenant_id is null or o.tenant_id = p_tenant_id) and o.kind <> 'retraction'
          and not exists (select from rollcall.usage_outbox r where r.sink = o.sink and r.reverses = o.event_id)
    ), known as materialized (
        select * from rollcall.usage_slices(p_tenant_id, p_cell, v_end, p_sink.slice, p_sink.time_zone)
    ), covered as (
        select k.tenant_id, k.session_id, k.participant_id, range_agg(tstzrange(k.slice_start, k.slice_end)) as ranges
        from known k group by k.tenant_id, k.session_id, k.participant_id
    ), taken_back as (
        select t.* from told t
        left join covered c using (session_id, participant_id)
        where coalesce(tstzrange(t.slice_start, t.slice_end) <@ c.ranges, false) is not true
    ), standing as (
        select t.session_id, t.participant_id, range_agg(tstzrange(t.slice_start, t.slice_end)) as ranges
        from told t
        where not exists (select from taken_back b where b.event_id = t.event_id)
        group by t.session_id, t.participant_id
    ), event as (
        select 'retraction' as kind, b.tenant_id, b.session_id, b.participant_id, b.slice_start, b.slice_end, -b.usage_us as usage_us,
               -b.uncertainty_us as uncertainty_us, b.event_id as reverses
        from taken_back b
        union all
        select case when v_is_new then 'usage' else 'late' end, k.tenant_id, k.session_id, k.participant_id, lower(r), upper(r),
               (extract(epoch from upper(r) - lower(r)) * 1000000)::bigint,
               case when upper(r) = k.slice_end then k.uncertainty_us else 0 end, null
        from known k
        left join standing s using (session_id, participant_id)
        cross join unnest(tstzmultirange(tstzrange(k.slice_start, k.slice_end)) - coalesce(s.ranges, '{}')) as r
    ), numbered as (
        select e.*, p_position + row_number() over (
            order by e.slice_start, e.session_id, e.participant_id, e.kind) as position,
            -- A slice that was taken back and told again is another event than the first.
            (select count(*) from rollcall.usage_outbox o
             where not v_is_new and o.sink = p_sink.sink and o.kind <> 'retraction' and o.session_id = e.session_id
               and o.participant_id = e.participant_id and o.slice_start = e.slice_start and o.slice_end = e.slice_end) as told_before
        from event e
    )
    insert into rollcall.usage_outbox
        (sink, position, event_id, kind, tenant_id, session_id, participant_id, slice_start, slice_end, usage_us,
         uncertainty_us, reverses)
    select p_sink.sink, n.position,
           rollcall.usage_event_id(n.session_id, n.participant_id, n.slice_start, n.slice_end,
               case when n.kind = 'retraction' then 'retraction ' || n.told_before
                    when n.told_before > 0 then 'usage ' || n.told_before
                    else 'usage' end),
           n.kind, n.tenant_id, n.session_id, n.participant_id, n.slice_start, n.slice_end, n.usage_us, n.uncertainty_us,
           n.reverses
    from numbered n
    order by n.position;
    get diagnostics v_count = row_count;

    insert into rollcall.usage_sink_cells as c (sink, tenant_id, cell, told_us)
    select p_sink.sink, o.tenant_id, p_cell, sum(o.usage_us)::bigint
    from rollcall.usage_outbox o
    where o.sink = p_sink.sink and o.position > p_position and o.position <= p_position + v_count
    group by o.tenant_id
    on conflict (sink, cell, tenant_id) do update set told_us = c.told_us + excluded.told_us;
    p_position := p_position + v_count;
end
$$;

comment on function rollcall.fill_usage_cell(rollcall.usage_sinks, uuid, timestamptz, bigint) is
    'Internal: adds to the outbox what one hour or day has more, or less, than was told; gives the newest position.';
