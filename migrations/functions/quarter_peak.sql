-- The most participants present at one instant of a short period inside a day (UTC), exact: all arrivals and departures in
-- order. For presence_sums, which knows where to look.
create or replace function rollcall.quarter_peak(p_tenant_id uuid, p_from timestamptz, p_to timestamptz, p_open uuid[])
    returns bigint
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    v_day date := (p_from at time zone 'UTC')::date;
begin
    return (
    with stay as (
        select c.session_id, c.participant_id, coalesce(c.covered, rollcall.coverage_of(c.session_id, c.participant_id)) as covered
        from (select o.* from rollcall.participant_coverage o
              where p_tenant_id is not null and o.tenant_id = p_tenant_id and o.day = v_day
                and o.first_at < p_to and o.last_at > p_from
              union all
              select o.* from rollcall.participant_coverage o
              where p_tenant_id is null and o.day = v_day and o.first_at < p_to and o.last_at > p_from) c
        union all
        select s.session_id, s.participant_id,
               tstzmultirange(tstzrange(s.connected_at, greatest(s.last_evidence_at, s.connected_at)))
        from rollcall.participation_spans s
        where s.session_id = any (p_open) and s.disconnected_at is null and s.connected_at < p_to
    ), participant as (
        select range_agg(r * tstzrange(p_from, p_to)) as covered
        from stay s, unnest(s.covered) as r group by s.session_id, s.participant_id
    )
    select coalesce(max(c.present), 0)::bigint
    -- At one instant departures come before arrivals: periods are half-open.
    from (select sum(x.step) over (order by x.at, x.step) as present
          from participant p, unnest(p.covered) as r,
               lateral (values (lower(r), 1), (upper(r), -1)) as x (at, step)) c);
end
$$;

comment on function rollcall.quarter_peak(uuid, timestamptz, timestamptz, uuid[]) is
    'Internal: the most participants present at one instant of a quarter of an hour, exact.';
