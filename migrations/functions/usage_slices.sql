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
        select tstzrange(c.lower_at, coalesce(lead(c.lower_at) over (order by c.lower_at), p_to)) as range from cut c
    ), span as materialized (
        select s.tenant_id, s.session_id, s.participant_id, s.covered, s.ends_at, s.uncertainty_us, s.is_open
        from rollcall.clipped_spans(p_tenant_id, null, p_from, p_to) s
    ), covered as (
        select s.tenant_id, s.session_id, s.participant_id, range_agg(s.covered) as ranges
        from span s group by s.tenant_id, s.session_id, s.participant_id
    ), sliced as (
        select c.tenant_id, c.session_id, c.participant_id, lower(x.slice) as slice_start, upper(x.slice) as slice_end
        from covered c
        cross join unnest(c.ranges) as r
        join piece p on p.range && r
        cross join lateral (select p.range * r as slice) x
    ), ending as (
        select e.session_id, e.participant_id, e.ends_at, sum(e.uncertainty_us)::bigint as uncertainty_us,
               bool_or(e.is_open) as is_open
        from span e where e.uncertainty_us > 0 or e.is_open
        group by e.session_id, e.participant_id, e.ends_at
    )
    select rollcall.usage_event_id(s.session_id, s.participant_id, s.slice_start, s.slice_end),
           s.tenant_id, s.session_id, s.participant_id, s.slice_start, s.slice_end,
           (extract(epoch from s.slice_end - s.slice_start) * 1000000)::bigint,
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
