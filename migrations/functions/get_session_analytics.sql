-- How sessions went. Durations are those of sessions that ended in the bucket and had been started; participants and
-- their seconds are those covered within the bucket.
create or replace function rollcall.get_session_analytics(
    p_from timestamptz,
    p_to timestamptz,
    p_tenant_id uuid default null,
    p_bucket text default null,
    p_tz text default 'UTC'
) returns table (bucket timestamptz, started bigint, ended bigint, completed bigint, expired bigint, abandoned bigint,
                 completion_rate numeric, avg_duration_seconds numeric, p50_duration_seconds numeric,
                 p95_duration_seconds numeric, max_duration_seconds numeric, participants bigint,
                 participant_seconds numeric, peak_concurrent bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    perform rollcall.check_arguments(p_tz => coalesce(p_tz, 'null'), p_from => p_from, p_to => p_to);
    if p_from is null or p_to is null or not isfinite(p_from) or not isfinite(p_to) then
        raise exception 'get_session_analytics needs a finite period'
            using errcode = 'invalid_parameter_value', hint = 'Give p_from and p_to.';
    end if;
    if p_bucket not in ('hour', 'day', 'week', 'month') then
        raise exception 'unknown bucket "%"', p_bucket
            using errcode = 'invalid_parameter_value', hint = 'One of hour, day, week, month, or null for one row.';
    end if;
    return query
    with buckets as (
        select t.lower_at, t.upper_at from rollcall.time_buckets(p_bucket, p_tz, p_from, p_to) t
        where p_bucket is not null
        union all
        select p_from, p_to where p_bucket is null
    ), span as materialized (
        select c.session_id, c.participant_id, c.covered from rollcall.clipped_spans(p_tenant_id, null, p_from, p_to) c
    )
    select b.lower_at, s.started, e.ended, e.completed, e.expired, e.abandoned,
           round(e.completed::numeric / nullif(e.ended, 0), 6), e.avg_s, e.p50_s, e.p95_s, e.max_s,
           u.participants, u.participant_s, coalesce(k.peak, 0)
    from buckets b
    cross join lateral (
        select count(*) as started from rollcall.sessions s
        where (p_tenant_id is null or s.tenant_id = p_tenant_id)
          and s.started_at >= b.lower_at and s.started_at < b.upper_at) s
    cross join lateral (
        select count(*) as ended,
               count(*) filter (where d.end_reason = 'completed') as completed,
               count(*) filter (where d.end_reason in ('idle', 'max_duration')) as expired,
               count(*) filter (where d.end_reason = 'abandoned') as abandoned,
               avg(d.duration_s) as avg_s, max(d.duration_s) as max_s,
               percentile_disc(0.5) within group (order by d.duration_s) as p50_s,
               percentile_disc(0.95) within group (order by d.duration_s) as p95_s
        from (select s.end_reason, extract(epoch from greatest(s.ended_at, s.started_at) - s.started_at) as duration_s
              from rollcall.sessions s
              where s.status = 'ended' and (p_tenant_id is null or s.tenant_id = p_tenant_id)
                and s.ended_at >= b.lower_at and s.ended_at < b.upper_at) d) e
    cross join lateral (
        select count(*) as participants, coalesce(sum(rollcall.coverage_seconds(c.coverage)), 0) as participant_s,
               array_agg(c.coverage) as coverages
        from (select range_agg(s.covered * tstzrange(b.lower_at, b.upper_at)) as coverage
              from span s
              where lower(s.covered) < b.upper_at and upper(s.covered) > b.lower_at
              group by s.session_id, s.participant_id) c) u
    cross join lateral (
        -- At one instant ends come before starts: intervals are half-open.
        select max(c.concurrent) as peak
        from (select sum(x.step) over (order by x.at, x.step) as concurrent
              from unnest(u.coverages) as coverage, unnest(coverage) as r,
                   lateral (values (lower(r), 1), (upper(r), -1)) as x (at, step)) c) k
    order by b.lower_at;
end
$$;

comment on function rollcall.get_session_analytics(timestamptz, timestamptz, uuid, text, text) is
    'Sessions started and ended in [p_from, p_to), per hour, day, week or month of p_tz or in one row; expired is idle and max_duration; completion_rate is completed / ended.';
