-- How sessions went. Durations are those of sessions that ended in the bucket and had been started; participants and
-- their seconds are those covered within the bucket.
drop function if exists rollcall.get_session_analytics(timestamptz, timestamptz, uuid, text, text);

create function rollcall.get_session_analytics(
    p_from timestamptz,
    p_to timestamptz,
    p_tenant_id uuid default null,
    p_bucket text default null,
    p_tz text default 'UTC'
) returns table (bucket timestamptz, started bigint, ended bigint, completed bigint, expired bigint, abandoned bigint,
                 no_shows bigint, completion_rate numeric, avg_duration_seconds numeric, p50_duration_seconds numeric,
                 p95_duration_seconds numeric, max_duration_seconds numeric, participants bigint,
                 participant_seconds numeric, peak_concurrent bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_bounds timestamptz[] := array[p_from, p_to];
    v_open uuid[];
begin
    -- Whoever is narrowed to a tenant asks about that one.
    p_tenant_id := coalesce(p_tenant_id, rollcall.scope_tenant_id());
    perform rollcall.check_arguments(p_tz => coalesce(p_tz, 'null'), p_from => p_from, p_to => p_to);
    if p_from is null or p_to is null or not isfinite(p_from) or not isfinite(p_to) then
        raise exception 'get_session_analytics needs a finite period'
            using errcode = 'invalid_parameter_value', hint = 'Give p_from and p_to.';
    end if;
    if p_bucket not in ('hour', 'day', 'week', 'month') then
        raise exception 'unknown bucket "%"', p_bucket
            using errcode = 'invalid_parameter_value', hint = 'One of hour, day, week, month, or null for one row.';
    end if;
    if p_bucket is not null then
        select array_agg(t.lower_at order by t.lower_at) || p_to into v_bounds
        from rollcall.time_buckets(p_bucket, p_tz, p_from, p_to) t;
    end if;
    v_open := rollcall.open_sessions(p_tenant_id, p_from, p_to);
    return query
    select v_bounds[n], s.started, e.ended, s.completed, s.idle + s.max_duration, s.abandoned, s.no_shows,
           round(s.completed::numeric / nullif(e.ended, 0), 6), s.duration_us / 1000000.0 / nullif(s.timed, 0),
           s.p50_us / 1000000.0, s.p95_us / 1000000.0, s.max_us / 1000000.0,
           coalesce(c.participants, 0), u.covered_us / 1000000.0, u.peak
    from generate_series(1, cardinality(v_bounds) - 1) as n
    join rollcall.session_outcomes(p_tenant_id, v_bounds) s on s.bucket = n
    join rollcall.presence_sums(p_tenant_id, v_bounds, v_open) u on u.bucket = n
    left join rollcall.count_participants(p_tenant_id, v_bounds, v_open) c on c.bucket = n
    cross join lateral (select s.completed + s.idle + s.max_duration + s.abandoned as ended) e
    order by n;
end
$$;

comment on function rollcall.get_session_analytics(timestamptz, timestamptz, uuid, text, text) is
    'Sessions started and ended in [p_from, p_to), per hour, day, week or month of p_tz or in one row; expired is idle and max_duration; no_shows ended without anybody ever having come in; completion_rate is completed / ended; peak_concurrent is the most participants present at the same time, exact to the minute.';
