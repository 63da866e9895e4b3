-- How the sessions of each bucket went; bucket n lies between bounds n and n+1. Whole days (UTC) come out of session_stats_day
-- and the histograms, the rest of a bucket out of sessions. Percentiles are exact: of a bucket without a whole day all durations
-- are put in order; for others the histogram says in which bin the wanted session lies and which of the bin it is, and an index
-- finds it there.
--
-- Runs as the owner, because row-level security may not use that index: its expression is not leakproof, so it would be
-- asked only of rows that the policy let through, one by one. Whoever is narrowed to a tenant gets that tenant here too.
drop function if exists rollcall.session_outcomes(uuid, timestamptz, timestamptz);
drop function if exists rollcall.session_outcomes(uuid, timestamptz[]);

create function rollcall.session_outcomes(p_tenant_id uuid, p_bounds timestamptz[])
    returns table (bucket integer, started bigint, completed bigint, idle bigint, max_duration bigint, abandoned bigint,
                   no_shows bigint, timed bigint, duration_us bigint, p50_us bigint, p95_us bigint, max_us bigint)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_last integer := cardinality(p_bounds) - 1;
    v_day date := (p_bounds[1] at time zone 'UTC')::date;
    v_day_to date := (p_bounds[cardinality(p_bounds)] at time zone 'UTC')::date;
    -- The bucket in which each day from v_day on lies as a whole; null where a bound cuts it.
    v_bucket_of integer[];
begin
    p_tenant_id := coalesce(rollcall.scope_tenant_id(), p_tenant_id);
    v_bucket_of := array(
        select case when b.bucket >= 1 and d.at + interval '24 hours' <= p_bounds[b.bucket + 1] then b.bucket end
        from (select (v_day + n)::timestamp at time zone 'UTC' as at from generate_series(0, v_day_to - v_day - 1) as n) d,
             lateral (select width_bucket(d.at, p_bounds) as bucket) b
        order by d.at);
    return query
    with tenant as materialized (
        -- Tenant by tenant, because that is how the indexes on times go.
        select p_tenant_id as tenant_id where p_tenant_id is not null
        union all
        select t.tenant_id from rollcall.tenants t where p_tenant_id is null
    ), period as materialized (
        select n as bucket, p_bounds[n] as from_at, p_bounds[n + 1] as to_at,
               case when d.from_at < d.to_at then d.from_at else p_bounds[n + 1] end as whole_from,
               case when d.from_at < d.to_at then d.to_at else p_bounds[n + 1] end as whole_to
        from generate_series(1, v_last) as n,
             lateral (select date_bin('24 hours', p_bounds[n] + interval '24 hours' - interval '1 microsecond', 'epoch') as from_at,
                             date_bin('24 hours', p_bounds[n + 1], 'epoch') as to_at) d
    ), edge as materialized (
        select p.bucket, e.from_at, e.to_at
        from period p, lateral (values (p.from_at, p.whole_from), (p.whole_to, p.to_at)) as e (from_at, to_at)
        where e.from_at < e.to_at
    ), begun as (
        select e.bucket, count(*) as started
        from edge e, tenant t,
             lateral (select from rollcall.sessions o
                      where o.tenant_id = t.tenant_id and o.started_at >= e.from_at and o.started_at < e.to_at offset 0) s
        group by e.bucket
    ), over as materialized (
        select e.bucket, s.end_reason, s.started_at is null as is_no_show,
               rollcall.duration_us(s.started_at, s.ended_at) as us
        from edge e, tenant t,
             lateral (select o.started_at, o.ended_at, o.end_reason from rollcall.sessions o
                      where o.status = 'ended' and o.tenant_id = t.tenant_id
                        and o.ended_at >= e.from_at and o.ended_at < e.to_at offset 0) s
    ), stat as (
        -- The bucket of a day is looked up and not joined, which takes longer; here and below.
        select v_bucket_of[d.day - v_day + 1] as bucket, sum(d.started) as started, sum(d.completed) as completed,
               sum(d.idle) as idle, sum(d.max_duration) as max_duration, sum(d.abandoned) as abandoned,
               sum(d.no_shows) as no_shows, sum(d.timed) as timed, sum(d.duration_us) as duration_us
        from (select d.* from rollcall.session_stats_day d
              where p_tenant_id is not null and d.tenant_id = p_tenant_id and d.day >= v_day and d.day < v_day_to
              union all
              select d.* from rollcall.session_stats_day d where p_tenant_id is null and d.day >= v_day and d.day < v_day_to) d
        group by 1
    ), summed as materialized (
        select x.bucket, sum(x.started)::bigint as started, sum(x.completed)::bigint as completed, sum(x.idle)::bigint as idle,
               sum(x.max_duration)::bigint as max_duration, sum(x.abandoned)::bigint as abandoned,
               sum(x.no_shows)::bigint as no_shows, sum(x.timed)::bigint as timed, sum(x.duration_us)::bigint as duration_us
        from (select p.bucket, 0 as started, 0 as completed, 0 as idle, 0 as max_duration, 0 as abandoned, 0 as no_shows,
                     0 as timed, 0 as duration_us
              from period p
              union all
              select s.bucket, s.started, s.completed, s.idle, s.max_duration, s.abandoned, s.no_shows, s.timed, s.duration_us
              from stat s where s.bucket is not null
              union all
              select b.bucket, b.started, 0, 0, 0, 0, 0, 0, 0 from begun b
              union all
              select o.bucket, 0, count(*) filter (where o.end_reason = 'completed'),
                     count(*) filter (where o.end_reason = 'idle'), count(*) filter (where o.end_reason = 'max_duration'),
                     count(*) filter (where o.end_reason = 'abandoned'), count(*) filter (where o.is_no_show), count(o.us),
                     coalesce(sum(o.us), 0)
              from over o group by o.bucket) x
        group by x.bucket
    ), wanted as materialized (
        select s.bucket, w.what, w.rank, p.from_at, p.to_at, p.whole_from < p.whole_to as has_histogram
        from summed s join period p using (bucket),
             lateral (values ('p50', (s.timed + 1) / 2), ('p95', (s.timed * 95 + 99) / 100), ('max', s.timed)) as w (what, rank)
        where s.timed > 0
    ), counted as (
        select v_bucket_of[d.day - v_day + 1] as bucket, d.bin, d.sessions
        from (select d.day, d.bin, d.sessions from rollcall.session_durations_day d
              where p_tenant_id is not null and d.tenant_id = p_tenant_id and d.day >= v_day and d.day < v_day_to
              union all
              select d.day, d.bin, d.sessions from rollcall.total_durations_day d
              where p_tenant_id is null and d.day >= v_day and d.day < v_day_to) d
        where v_bucket_of[d.day - v_day + 1] is not null
    ), ranked as (
        select x.bucket, x.bin, x.sessions,
               sum(x.sessions) over (partition by x.bucket order by x.bin rows unbounded preceding)::bigint - x.sessions as below
        from (select x.bucket, x.bin, sum(x.sessions)::bigint as sessions
              from (select c.bucket, c.bin, c.sessions from counted c
                    union all
                    select o.bucket, rollcall.duration_bin(o.us), 1
                    from over o join period p using (bucket)
                    where o.us is not null and p.whole_from < p.whole_to) x
              group by x.bucket, x.bin having sum(x.sessions) <> 0) x
    ), found as (
        select w.bucket, w.what, f.us
        from wanted w
        join ranked r on r.bucket = w.bucket and w.rank > r.below and w.rank <= r.below + r.sessions,
             lateral (select rollcall.duration_us(s.started_at, s.ended_at) as us
                      from rollcall.sessions s
                      where s.status = 'ended' and s.started_at is not null
                        and rollcall.duration_bin(rollcall.duration_us(s.started_at, s.ended_at)) = r.bin
                        and (p_tenant_id is null or s.tenant_id = p_tenant_id)
                        and s.ended_at >= w.from_at and s.ended_at < w.to_at
                      order by us offset w.rank - r.below - 1 limit 1) f
        where w.has_histogram
        union all
        select w.bucket, w.what, o.us
        from (select o.bucket, o.us, row_number() over (partition by o.bucket order by o.us) as place
              from over o where o.us is not null) o
        join wanted w on w.bucket = o.bucket and w.rank = o.place
        where not w.has_histogram
    ), percentile as (
        select f.bucket, min(f.us) filter (where f.what = 'p50') as p50_us, min(f.us) filter (where f.what = 'p95') as p95_us,
               min(f.us) filter (where f.what = 'max') as max_us
        from found f group by f.bucket
    )
    select s.bucket, s.started, s.completed, s.idle, s.max_duration, s.abandoned, s.no_shows, s.timed, s.duration_us,
           p.p50_us, p.p95_us, p.max_us
    from summed s left join percentile p using (bucket);
end
$$;

comment on function rollcall.session_outcomes(uuid, timestamptz[]) is
    'Internal: sessions of a tenant (null: of all) that started and that ended in each bucket, by reason, with exact percentiles of their durations.';
