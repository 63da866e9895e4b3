-- The most participants present at one instant of each of some short periods, every one inside a day (UTC), exact: all
-- arrivals and departures in order. For presence_sums, which knows where to look.
drop function if exists rollcall.quarter_peak(uuid, timestamptz, timestamptz, uuid[]);

create or replace function rollcall.quarter_peaks(p_tenant_id uuid, p_from timestamptz[], p_to timestamptz[], p_open uuid[])
    returns table (place bigint, peak bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
    return query
    with quarter as materialized (
        select q.place, q.from_at, q.to_at, (q.from_at at time zone 'UTC')::date as day
        from unnest(p_from, p_to) with ordinality as q (from_at, to_at, place)
    ), stay as (
        select c.place, c.from_at, c.to_at, c.session_id, c.participant_id,
               coalesce(c.covered, rollcall.coverage_of(c.session_id, c.participant_id)) as covered
        from (select q.place, q.from_at, q.to_at, o.session_id, o.participant_id, o.covered
              from quarter q,
                   lateral (select o.session_id, o.participant_id, o.covered from rollcall.participant_coverage o
                            where o.tenant_id = p_tenant_id and o.day = q.day
                              and o.first_at < q.to_at and o.last_at > q.from_at offset 0) o
              where p_tenant_id is not null
              union all
              select q.place, q.from_at, q.to_at, o.session_id, o.participant_id, o.covered
              from quarter q,
                   lateral (select o.session_id, o.participant_id, o.covered from rollcall.participant_coverage o
                            where o.day = q.day and o.first_at < q.to_at and o.last_at > q.from_at offset 0) o
              where p_tenant_id is null) c
        union all
        select q.place, q.from_at, q.to_at, s.session_id, s.participant_id,
               tstzmultirange(tstzrange(s.connected_at, greatest(s.last_evidence_at, s.connected_at)))
        from rollcall.participation_spans s join quarter q on s.connected_at < q.to_at
        where s.session_id = any (p_open) and s.disconnected_at is null
    ), participant as (
        select s.place, range_agg(r * tstzrange(s.from_at, s.to_at)) as covered
        from stay s, unnest(s.covered) as r group by s.place, s.session_id, s.participant_id
    ), moment as (
        -- At one instant departures come before arrivals: periods are half-open.
        select p.place, sum(x.step) over (partition by p.place order by x.at, x.step) as present
        from participant p, unnest(p.covered) as r,
             lateral (values (lower(r), 1), (upper(r), -1)) as x (at, step)
    )
    select m.place, max(m.present)::bigint from moment m group by m.place;
end
$$;

comment on function rollcall.quarter_peaks(uuid, timestamptz[], timestamptz[], uuid[]) is
    'Internal: the most participants present at one instant of each of some quarters of an hour, exact; none where nobody was.';
