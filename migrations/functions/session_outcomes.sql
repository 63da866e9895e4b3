-- How the sessions of each bucket went; bucket n lies between bounds n and n+1. Whole days (UTC) come out of session_stats_day
-- and the histograms; what a bucket has more or less than the days between the midnights next to its bounds, and short buckets
-- as wholes, out of sessions. Percentiles are exact: of a bucket without days all durations are put in order; for others the
-- histogram says in which band of bins, and then in which bin, the wanted session lies and which of the bin it is, and an index
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
    set jit = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_last integer := cardinality(p_bounds) - 1;
    -- The midnight (UTC) next to each bound.
    v_nights timestamptz[] := array(select date_bin('24 hours', b.at + interval '12 hours', 'epoch')
                                    from unnest(p_bounds) with ordinality as b (at, n) order by b.n);
    v_day date := (v_nights[1] at time zone 'UTC')::date;
    v_day_to date := (v_nights[cardinality(v_nights)] at time zone 'UTC')::date;
    -- Whether a bucket is put together of days: where the rest that is looked at one by one is less than the bucket.
    v_by_day boolean[] := array(
        select p_bounds[n + 1] - p_bounds[n]
                   > greatest(p_bounds[n] - v_nights[n], v_nights[n] - p_bounds[n])
                     + greatest(p_bounds[n + 1] - v_nights[n + 1], v_nights[n + 1] - p_bounds[n + 1])
        from generate_series(1, v_last) as n order by n);
    -- The bucket of each day from v_day on; null where its bucket is not put together of days.
    v_bucket_of integer[];
begin
    p_tenant_id := coalesce(rollcall.scope_tenant_id(), p_tenant_id);
    v_bucket_of := array(
        select case when v_by_day[d.bucket] then d.bucket end
        from (select n, width_bucket((v_day + n)::timestamp at time zone 'UTC', v_nights) as bucket
              from generate_series(0, v_day_to - v_day - 1) as n) d
        order by d.n);
    return query
    with tenant as materialized (
        -- Tenant by tenant, because that is how the indexes on times go.
        select p_tenant_id as tenant_id where p_tenant_id is not null
        union all
        select t.tenant_id from rollcall.tenants t where p_tenant_id is null
    ), share as materialized (
        -- What lies between a bound and its midnight: the bucket to which it belongs is short of it, the other one has it too
        -- much. The place of a bound is its number; a bucket that is not put together of days is a place after them.
        select v_last + 1 + n as place, n as bucket, 1 as sign from generate_series(1, v_last) as n where not v_by_day[n]
        union all
        select b.n, x.bucket, x.sign
        from generate_series(1, v_last + 1) as b (n),
             lateral (values (b.n, case when p_bounds[b.n] < v_nights[b.n] then 1 else -1 end),
                             (b.n - 1, case when p_bounds[b.n] < v_nights[b.n] then -1 else 1 end)) as x (bucket, sign)
        where p_bounds[b.n] <> v_nights[b.n] and v_by_day[x.bucket]
    ), gap as (
        -- Of all tenants only what a bound leaves of a quarter of an hour is looked at session by session.
        select b.n as place, p_bounds[b.n] as bound, v_nights[b.n] as night,
               case when p_tenant_id is not null then v_nights[b.n]
                    when p_bounds[b.n] > v_nights[b.n] then date_bin('15 minutes', p_bounds[b.n], 'epoch')
                    else date_bin('15 minutes', p_bounds[b.n] + interval '15 minutes' - interval '1 microsecond', 'epoch')
               end as quarter
        from generate_series(1, v_last + 1) as b (n)
        where b.n in (select h.place from share h)
    ), edge as materialized (
        select v_last + 1 + n as place, p_bounds[n] as from_at, p_bounds[n + 1] as to_at
        from generate_series(1, v_last) as n where not v_by_day[n]
        union all
        select g.place, least(g.bound, g.quarter), greatest(g.bound, g.quarter) from gap g where g.bound <> g.quarter
    ), quarters as materialized (
        select g.place, least(g.night, g.quarter) as from_at, greatest(g.night, g.quarter) as to_at
        from gap g where g.night <> g.quarter
    ), begun as (
        select e.place, count(*) as started
        from edge e, tenant t,
             lateral (select from rollcall.sessions o
                      where o.tenant_id = t.tenant_id and o.started_at >= e.from_at and o.started_at < e.to_at offset 0) s
        group by e.place
    ), over as materialized (
        select e.place, s.end_reason, s.started_at is null as is_no_show, rollcall.duration_us(s.started_at, s.ended_at) as us
        from edge e, tenant t,
             lateral (select o.started_at, o.ended_at, o.end_reason from rollcall.sessions o
                      where o.status = 'ended' and o.tenant_id = t.tenant_id
                        and o.ended_at >= e.from_at and o.ended_at < e.to_at offset 0) s
    ), beside as (
        select q.place, u.started, u.completed, u.idle, u.max_duration, u.abandoned, u.no_shows, u.timed, u.duration_us
        from quarters q,
             lateral (select o.* from rollcall.total_stats_15m o where o.bucket >= q.from_at and o.bucket < q.to_at offset 0) u
        union all
        select b.place, b.started, 0, 0, 0, 0, 0, 0, 0 from begun b
        union all
        select o.place, 0, count(*) filter (where o.end_reason = 'completed'), count(*) filter (where o.end_reason = 'idle'),
               count(*) filter (where o.end_reason = 'max_duration'), count(*) filter (where o.end_reason = 'abandoned'),
               count(*) filter (where o.is_no_show), count(o.us), coalesce(sum(o.us), 0)
        from over o group by o.place
    ), stat as (
        -- The bucket of a day is looked up and not joined, which takes longer; here and below.
        select v_bucket_of[d.day - v_day + 1] as bucket, sum(d.started) as started, sum(d.completed) as completed,
               sum(d.idle) as idle, sum(d.max_duration) as max_duration, sum(d.abandoned) as abandoned,
               sum(d.no_shows) as no_shows, sum(d.timed) as timed, sum(d.duration_us) as duration_us
        from (select d.day, d.started, d.completed, d.idle, d.max_duration, d.abandoned, d.no_shows, d.timed, d.duration_us
              from rollcall.session_stats_day d
              where p_tenant_id is not null and d.tenant_id = p_tenant_id and d.day >= v_day and d.day < v_day_to
              union all
              select d.day, d.started, d.completed, d.idle, d.max_duration, d.abandoned, d.no_shows, d.timed, d.duration_us
              from rollcall.total_stats_day d where p_tenant_id is null and d.day >= v_day and d.day < v_day_to) d
        group by 1
    ), summed as materialized (
        select x.bucket, sum(x.started)::bigint as started, sum(x.completed)::bigint as completed, sum(x.idle)::bigint as idle,
               sum(x.max_duration)::bigint as max_duration, sum(x.abandoned)::bigint as abandoned,
               sum(x.no_shows)::bigint as no_shows, sum(x.timed)::bigint as timed, sum(x.duration_us)::bigint as duration_us
        from (select n as bucket, 0 as started, 0 as completed, 0 as idle, 0 as max_duration, 0 as abandoned, 0 as no_shows,
                     0 as timed, 0 as duration_us
              from generate_series(1, v_last) as n
              union all
              select s.bucket, s.started, s.completed, s.idle, s.max_duration, s.abandoned, s.no_shows, s.timed, s.duration_us
              from stat s where s.bucket is not null
              union all
              select h.bucket, h.sign * b.started, h.sign * b.completed, h.sign * b.idle, h.sign * b.max_duration,
                     h.sign * b.abandoned, h.sign * b.no_shows, h.sign * b.timed, h.sign * b.duration_us
              from share h join (select g.place, sum(g.started) as started, sum(g.completed) as completed, sum(g.idle) as idle,
                                        sum(g.max_duration) as max_duration, sum(g.abandoned) as abandoned,
                                        sum(g.no_shows) as no_shows, sum(g.timed) as timed, sum(g.duration_us) as duration_us
                                 from beside g group by g.place) b using (place)) x
        group by x.bucket
    ), sought as (
        select s.bucket, w.what, w.rank
        from summed s,
             lateral (values ('p50', (s.timed + 1) / 2), ('p95', (s.timed * 95 + 99) / 100), ('max', s.timed)) as w (what, rank)
        where v_by_day[s.bucket]
    ), edge_bin as materialized (
        select h.bucket, o.bin, h.sign * o.sessions as sessions
        from share h join (select o.place, rollcall.duration_bin(o.us) as bin, count(*)::integer as sessions
                           from over o where o.us is not null and o.place <= v_last + 1 group by 1, 2) o using (place)
    ), quarter_band as (
        select h.bucket, u.band, h.sign * u.sessions as sessions
        from share h join (select q.place, u.band, sum(u.sessions)::integer as sessions
                           from quarters q,
                                lateral (select o.band, o.sessions from rollcall.total_duration_bands_15m o
                                         where o.bucket >= q.from_at and o.bucket < q.to_at offset 0) u
                           group by 1, 2) u using (place)
    ), band as (
        -- Sums of integers, which these are small enough for, are much faster than others.
        select x.bucket, x.band, x.sessions,
               sum(x.sessions) over (partition by x.bucket order by x.band rows unbounded preceding) - x.sessions as below
        from (select x.bucket, x.band, sum(x.sessions)::integer as sessions
              from (select v_bucket_of[d.day - v_day + 1] as bucket, d.band, d.sessions::integer as sessions
                    from rollcall.session_duration_bands_day d
                    where p_tenant_id is not null and d.tenant_id = p_tenant_id and d.day >= v_day and d.day < v_day_to
                    union all
                    select v_bucket_of[d.day - v_day + 1], d.band, d.sessions::integer
                    from rollcall.total_duration_bands_day d where p_tenant_id is null and d.day >= v_day and d.day < v_day_to
                    union all
                    select e.bucket, e.bin / 8, e.sessions from edge_bin e
                    union all
                    select q.bucket, q.band, q.sessions from quarter_band q) x
              where x.bucket is not null
              group by x.bucket, x.band) x
    ), near as materialized (
        -- The band of each of the three sessions, and which of the band it is.
        select q.bucket, q.what, b.band, q.rank - b.below as rank
        from sought q join band b on b.bucket = q.bucket and q.rank > b.below and q.rank <= b.below + b.sessions
    ), near_band as materialized (
        -- Two of the three may lie in the same one.
        select distinct n.bucket, n.band from near n
    ), ranked as (
        select x.bucket, x.bin, x.sessions,
               sum(x.sessions) over (partition by x.bucket, x.band order by x.bin rows unbounded preceding) - x.sessions as below
        from (select x.bucket, x.bin / 8 as band, x.bin, sum(x.sessions)::integer as sessions
              from (select n.bucket, d.bin, d.sessions::integer as sessions
                    from near_band n
                    join generate_series(0, v_day_to - v_day - 1) as t (day) on v_bucket_of[t.day + 1] = n.bucket,
                         lateral (select o.bin, o.sessions from rollcall.session_durations_day o
                                  where p_tenant_id is not null and o.tenant_id = p_tenant_id and o.day = v_day + t.day
                                    and o.bin >= n.band * 8 and o.bin < n.band * 8 + 8
                                  union all
                                  select o.bin, o.sessions from rollcall.total_durations_day o
                                  where p_tenant_id is null and o.day = v_day + t.day
                                    and o.bin >= n.band * 8 and o.bin < n.band * 8 + 8 offset 0) d
                    union all
                    select e.bucket, e.bin, e.sessions
                    from edge_bin e join near_band n on n.bucket = e.bucket and n.band = e.bin / 8
                    union all
                    select n.bucket, b.bin, h.sign * c.sessions
                    from near_band n join share h using (bucket) join quarters q using (place),
                         lateral generate_series(n.band * 8, n.band * 8 + 7) as b (bin),
                         lateral (select count(*)::integer as sessions
                                  from rollcall.sessions o
                                  where o.status = 'ended' and o.started_at is not null
                                    and rollcall.duration_bin(rollcall.duration_us(o.started_at, o.ended_at)) = b.bin
                                    and o.ended_at >= q.from_at and o.ended_at < q.to_at) c) x
              group by x.bucket, x.bin) x
    ), wanted as (
        -- The bin of each, and which of the bin it is.
        select n.bucket, n.what, r.bin, n.rank - r.below - 1 as behind
        from near n join ranked r on r.bucket = n.bucket and r.bin / 8 = n.band
                                     and n.rank > r.below and n.rank <= r.below + r.sessions
    ), percentile as (
        select f.bucket, min(f.us) filter (where f.what = 'p50') as p50_us, min(f.us) filter (where f.what = 'p95') as p95_us,
               min(f.us) filter (where f.what = 'max') as max_us
        from (select w.bucket, w.what, f.us
              from wanted w,
                   lateral (select rollcall.duration_us(s.started_at, s.ended_at) as us
                            from rollcall.sessions s
                            where s.status = 'ended' and s.started_at is not null
                              and rollcall.duration_bin(rollcall.duration_us(s.started_at, s.ended_at)) = w.bin
                              and (p_tenant_id is null or s.tenant_id = p_tenant_id)
                              and s.ended_at >= p_bounds[w.bucket] and s.ended_at < p_bounds[w.bucket + 1]
                            order by us offset w.behind limit 1) f) f
        group by f.bucket
        union all
        select o.bucket, o.us[(cardinality(o.us) + 1) / 2], o.us[(cardinality(o.us) * 95 + 99) / 100], o.us[cardinality(o.us)]
        from (select o.place - v_last - 1 as bucket, array_agg(o.us order by o.us) as us
              from over o where o.us is not null and o.place > v_last + 1 group by o.place) o
    )
    select s.bucket, s.started, s.completed, s.idle, s.max_duration, s.abandoned, s.no_shows, s.timed, s.duration_us,
           p.p50_us, p.p95_us, p.max_us
    from summed s left join percentile p using (bucket);
end
$$;

comment on function rollcall.session_outcomes(uuid, timestamptz[]) is
    'Internal: sessions of a tenant (null: of all) that started and that ended in each bucket, by reason, with exact percentiles of their durations.';
