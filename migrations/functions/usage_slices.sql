-- Usage as events: the coverage of each participant (two tabs count once), cut at the hours or days of UTC and at the
-- midnights of p_tz. Every slice lies in one UTC day and in one local day, so in one billing period; slices of a
-- participant never overlap, and together they are the bill. An open connection counts up to its last evidence.
create or replace function rollcall.usage_slices(
    p_tenant_id uuid,
    p_from timestamptz,
    p_to timestamptz,
    p_slice text default 'day',
    p_tz text default 'UTC'
) returns table (event_id uuid, tenant_id uuid, session_id uuid, participant_id uuid, slice_start timestamptz,
                 slice_end timestamptz, usage_us bigint, uncertainty_us bigint, is_open boolean)
    language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_first_day date := (p_from at time zone 'UTC')::date;
    v_last_day date := ((p_to - interval '1 microsecond') at time zone 'UTC')::date;
begin
    perform rollcall.check_arguments(p_tz => coalesce(p_tz, 'null'), p_from => p_from, p_to => p_to);
    if p_from is null or p_to is null or not isfinite(p_from) or not isfinite(p_to) then
        raise exception 'usage_slices needs a finite period'
            using errcode = 'invalid_parameter_value', hint = 'Give p_from and p_to.';
    end if;
    if p_slice is null or p_slice not in ('hour', 'day') then
        raise exception 'unknown slice "%"', coalesce(p_slice, 'null')
            using errcode = 'invalid_parameter_value', hint = 'One of hour, day.';
    end if;
    return query
    with cut as (
        select b.lower_at from rollcall.time_buckets(p_slice, 'UTC', p_from, p_to) b
        union
        select b.lower_at from rollcall.time_buckets('day', p_tz, p_from, p_to) b
    ), piece as materialized (
        select c.lower_at, coalesce(lead(c.lower_at) over (order by c.lower_at), p_to) as upper_at from cut c
    ), wanted as materialized (
        -- One tenant after the other, because the indexes begin with the tenant.
        select t.tenant_id from rollcall.tenants t where p_tenant_id is null or t.tenant_id = p_tenant_id
    ), open_span as materialized (
        select s.tenant_id, s.session_id, s.participant_id, s.connected_at,
               greatest(s.last_evidence_at, s.connected_at) as ends_at
        from wanted w join rollcall.participation_spans s on s.tenant_id = w.tenant_id
        where s.disconnected_at is null and s.connected_at < p_to and s.last_evidence_at > p_from
    ), closed as (
        -- A row of coverage is a day; one in too many pieces has none of them, and gets them from its spans.
        select c.tenant_id, c.session_id, c.participant_id,
               coalesce(c.covered, (select range_agg(tstzrange(s.connected_at, s.disconnected_at))
                                    from rollcall.participation_spans s
                                    where s.session_id = c.session_id and s.participant_id = c.participant_id
                                      and s.disconnected_at > c.first_at and s.connected_at < c.last_at)
                                   * tstzmultirange(tstzrange(c.first_at, c.last_at)), '{}') as ranges
        from wanted w
        join rollcall.participant_coverage c on c.tenant_id = w.tenant_id and c.day between v_first_day and v_last_day
    ), covered as (
        select c.tenant_id, c.session_id, c.participant_id, r
        from closed c cross join unnest(c.ranges) as r
        where not exists (select from open_span o
                          where o.session_id = c.session_id and o.participant_id = c.participant_id)
        union all
        select u.tenant_id, u.session_id, u.participant_id, r
        from (select x.tenant_id, x.session_id, x.participant_id, range_agg(x.ranges) as ranges
              from (select o.tenant_id, o.session_id, o.participant_id, tstzrange(o.connected_at, o.ends_at) as ranges
                    from open_span o
                    union all
                    select c.tenant_id, c.session_id, c.participant_id, r
                    from closed c cross join unnest(c.ranges) as r
                    where exists (select from open_span o
                                  where o.session_id = c.session_id and o.participant_id = c.participant_id)) x
              group by x.tenant_id, x.session_id, x.participant_id) u
        cross join unnest(u.ranges) as r
    ), sliced as (
        select c.tenant_id, c.session_id, c.participant_id, greatest(lower(c.r), p.lower_at) as slice_start,
               least(upper(c.r), p.upper_at) as slice_end
        from covered c
        join piece p on p.lower_at < upper(c.r) and p.upper_at > lower(c.r)
    ), ending as (
        select s.session_id, s.participant_id, s.disconnected_at as ends_at, s.uncertainty_us, false as is_open
        from (select distinct c.tenant_id, c.session_id, c.participant_id
              from wanted w
              join rollcall.participant_coverage c on c.tenant_id = w.tenant_id and c.day between v_first_day and v_last_day
              where c.uncertainty_us > 0) c
        join rollcall.participation_spans s on s.session_id = c.session_id and s.participant_id = c.participant_id
        where s.uncertainty_us > 0 and s.disconnected_at > p_from and s.disconnected_at <= p_to
        union all
        select o.session_id, o.participant_id, o.ends_at, 0, true from open_span o
    )
    select rollcall.usage_event_id(s.session_id, s.participant_id, s.slice_start, s.slice_end),
           s.tenant_id, s.session_id, s.participant_id, s.slice_start, s.slice_end,
           rollcall.us_between(s.slice_start, s.slice_end),
           coalesce(sum(e.uncertainty_us), 0)::bigint, coalesce(bool_or(e.is_open), false)
    from sliced s
    left join ending e on e.session_id = s.session_id and e.participant_id = s.participant_id
        and e.ends_at > s.slice_start and e.ends_at <= s.slice_end
    group by s.tenant_id, s.session_id, s.participant_id, s.slice_start, s.slice_end
    order by s.slice_start, s.session_id, s.participant_id;
end
$$;

comment on function rollcall.usage_slices(uuid, timestamptz, timestamptz, text, text) is
    'Usage of a tenant (null: of all) in [p_from, p_to) as slices that lie in one hour or day of UTC and in one day of p_tz, each with the id of its event.';
