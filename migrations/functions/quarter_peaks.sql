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
        -- One row a day for each participant. Of all tenants there is no index to find sessions by; it is asked where there are few.
        select c.place, c.from_at, c.to_at, coalesce(c.covered, rollcall.coverage_of(c.session_id, c.participant_id)) as covered
        from (select q.*, o.session_id, o.participant_id, o.covered
              from rollcall.sessions_during(p_tenant_id, p_from, p_to) d join quarter q using (place),
                   lateral (select x.* from rollcall.participant_coverage x
                            where x.session_id = d.session_id and x.day = q.day
                              and x.first_at < q.to_at and x.last_at > q.from_at offset 0) o
              where p_tenant_id is not null
              union all
              select q.*, o.session_id, o.participant_id, o.covered
              from quarter q,
                   lateral (select x.* from rollcall.participant_coverage x
                            where x.day = q.day and x.first_at < q.to_at and x.last_at > q.from_at offset 0) o
              where p_tenant_id is null) c
    ), opened as materialized (
        select q.place, q.from_at, q.to_at, s.session_id, s.participant_id,
               range_agg(tstzrange(s.connected_at, greatest(s.last_evidence_at, s.connected_at))) as covered
        from rollcall.participation_spans s join quarter q on s.connected_at < q.to_at and s.last_evidence_at > q.from_at
        where s.session_id = any (p_open) and s.disconnected_at is null
        group by q.place, q.from_at, q.to_at, s.session_id, s.participant_id
    ), present as (
        select s.place, s.covered * tstzmultirange(tstzrange(s.from_at, s.to_at)) as covered from stay s
        union all
        -- Less what closed spans of the same participant cover.
        select o.place, (o.covered - coalesce(c.covered, '{}')) * tstzmultirange(tstzrange(o.from_at, o.to_at))
        from opened o
        left join lateral (select coalesce(x.covered, rollcall.coverage_of(x.session_id, x.participant_id)) as covered
                           from rollcall.participant_coverage x
                           where x.session_id = o.session_id and x.participant_id = o.participant_id
                             and x.day = (o.from_at at time zone 'UTC')::date) c on true
    ), moment as (
        -- At one instant departures come before arrivals: periods are half-open. Sets in the select list, because joined to a
        -- function each of so few rows would cost several times as much.
        select x.place, sum(x.step) over (partition by x.place order by x.at, x.step) as present
        from (select p.place, unnest(array[lower(p.r), upper(p.r)]) as at, unnest(array[1, -1]) as step
              from (select s.place, unnest(s.covered) as r from present s) p) x
    )
    select m.place, max(m.present)::bigint from moment m group by m.place;
end
$$;

comment on function rollcall.quarter_peaks(uuid, timestamptz[], timestamptz[], uuid[]) is
    'Internal: the most participants present at one instant of each of some quarters of an hour, exact; none where nobody was.';
