-- How long participants were there in each bucket, summed, and how many at most at the same time; bucket n lies between bounds
-- n and n+1. Out of the quarters of an hour; where a bound cuts a quarter, out of the participants of that day. Open
-- connections come on top, up to their last evidence.
--
-- The peak is known at each full minute. Between two minutes more may have been there for a moment: the three quarters of a
-- bucket that can hold the most (those present at their start, and all that joined) are looked at arrival by arrival, where
-- the days of the whole period have up to 3,000 new participants in all. So the peak is exact where little happens and exact to
-- the minute where much does.
drop function if exists rollcall.presence_sums(uuid, timestamptz, timestamptz, uuid[]);
drop function if exists rollcall.presence_sums(uuid, timestamptz[], uuid[]);

create function rollcall.presence_sums(p_tenant_id uuid, p_bounds timestamptz[], p_open uuid[])
    returns table (bucket integer, covered_us bigint, peak bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    c_exact_up_to constant bigint := 3000;
    v_last integer := cardinality(p_bounds) - 1;
    v_from timestamptz := p_bounds[1];
    v_to timestamptz := p_bounds[v_last + 1];
    v_is_exact boolean;
    -- Whether any bound lies within a quarter.
    v_cuts boolean := exists (select from unnest(p_bounds) b where date_bin('15 minutes', b, 'epoch') <> b);
    -- Before it nothing is open; null: nothing is.
    v_open_from timestamptz;
begin
    select min(s.connected_at) into v_open_from
    from rollcall.participation_spans s where s.session_id = any (p_open) and s.disconnected_at is null;
    if p_tenant_id is null then
        -- Reads no further than to where there are more.
        v_is_exact := not exists (
            select from (select sum(u.participants_new) over (order by u.bucket, u.shard rows unbounded preceding) as so_far
                         from rollcall.total_15m u
                         where u.bucket >= date_bin('24 hours', v_from, 'epoch') and u.bucket < v_to) x
            where x.so_far > c_exact_up_to);
    else
        v_is_exact := c_exact_up_to >= (select coalesce(sum(u.participants_new), 0) from rollcall.usage_day u
                               where u.tenant_id = p_tenant_id
                                 and u.day between (v_from at time zone 'UTC')::date and (v_to at time zone 'UTC')::date);
    end if;
    return query
    with counted as not materialized (
        -- What the shards counted of each quarter; where one counted alone, its peak is known.
        select u.bucket as at, sum(u.covered_us) as covered_us, sum(u.present[1] + u.joins::integer) as possible,
               case when count(*) = 1 then min(u.present_max) end as highest, sum(u.present_max) as highest_possible
        from rollcall.usage_15m u
        where p_tenant_id is not null and u.tenant_id = p_tenant_id
          and u.bucket > v_from - interval '15 minutes' and u.bucket < v_to
        group by u.bucket
        union all
        select u.bucket, sum(u.covered_us), sum(u.present[1] + u.joins::integer),
               case when count(*) = 1 then min(u.present_max) end, sum(u.present_max)
        from rollcall.total_15m u
        where p_tenant_id is null and u.bucket > v_from - interval '15 minutes' and u.bucket < v_to
        group by u.bucket
    ), placed as not materialized (
        select width_bucket(q.at, p_bounds) as bucket, q.at, q.covered_us, q.possible, q.highest, q.highest_possible
        from counted q where not v_cuts
        union all
        -- A quarter that a bound cuts is in the bucket before and in the one after.
        select b.bucket, q.at, case when w.is_whole then q.covered_us end, q.possible,
               case when w.is_whole then q.highest end, q.highest_possible
        from counted q,
             lateral generate_series(
                 greatest(1, width_bucket(q.at, p_bounds)),
                 least(v_last, width_bucket(q.at + interval '15 minutes' - interval '1 microsecond', p_bounds))) as b (bucket),
             lateral (select q.at >= p_bounds[b.bucket]
                             and q.at + interval '15 minutes' <= p_bounds[b.bucket + 1] as is_whole) w
        where v_cuts
    ), opened as materialized (
        -- What is open is cut to the bucket already.
        select n as bucket, o.bucket as at, o.covered_us, o.joins, o.present
        from generate_series(1, v_last) as n, lateral rollcall.open_minutes(p_open, p_bounds[n], p_bounds[n + 1]) o
        where p_bounds[n + 1] > v_open_from
    ), summed as materialized (
        -- The quarters go through here, and none is kept as a row, which would take longer than all else: those whose peak is
        -- not known, because several counted or a bound leaves some minutes out, and those that may be looked at closer.
        select p.bucket, sum(p.covered_us) as covered_us, coalesce(max(p.highest), 0) as peak,
               array_agg(p.at) filter (where p.highest is null) as unknown_at,
               array_agg(p.highest_possible) filter (where p.highest is null) as unknown_peaks,
               array_agg(p.at) filter (where v_is_exact) as exact_at,
               array_agg(p.possible) filter (where v_is_exact) as exact_possible
        from placed p group by p.bucket
    ), minutes as (
        -- These, and those with open connections, minute by minute, unless that is too little for the peak.
        select x.bucket,
               (select max(m.n) from unnest(x.present) with ordinality as m (n, minute)
                where x.at + (m.minute - 1) * interval '1 minute' >= p_bounds[x.bucket]
                  and x.at + (m.minute - 1) * interval '1 minute' < p_bounds[x.bucket + 1]) as highest
        from (select g.bucket, g.at, array[
                  sum(p.present[1]), sum(p.present[2]), sum(p.present[3]), sum(p.present[4]), sum(p.present[5]),
                  sum(p.present[6]), sum(p.present[7]), sum(p.present[8]), sum(p.present[9]), sum(p.present[10]),
                  sum(p.present[11]), sum(p.present[12]), sum(p.present[13]), sum(p.present[14]), sum(p.present[15])] as present
              from (select s.bucket, u.at
                    from summed s, unnest(s.unknown_at, s.unknown_peaks) as u (at, peak) where u.peak > s.peak
                    union
                    select o.bucket, o.at from opened o) g,
                   lateral (select u.present from rollcall.usage_15m u
                            where p_tenant_id is not null and u.tenant_id = p_tenant_id and u.bucket = g.at
                            union all
                            select u.present from rollcall.total_15m u where p_tenant_id is null and u.bucket = g.at
                            union all
                            select o.present from opened o where o.bucket = g.bucket and o.at = g.at offset 0) p
              group by g.bucket, g.at) x
    ), highest as materialized (
        select h.bucket, max(h.peak) as peak
        from (select s.bucket, s.peak from summed s union all select m.bucket, coalesce(m.highest, 0) from minutes m) h
        group by h.bucket
    ), busiest as materialized (
        select b.*, row_number() over () as place
        from (select bucket, at, row_number() over (partition by bucket order by q.possible desc, at) as rank
              from (select bucket, at, coalesce(c.possible, 0) + coalesce(o.present[1] + o.joins, 0) as possible
                    from (select s.bucket, e.at, e.possible
                          from summed s, unnest(s.exact_at, s.exact_possible) as e (at, possible)) c
                    full join (select * from opened where v_is_exact) o using (bucket, at)) q
              join highest h using (bucket)
              where q.possible > h.peak) b
        where b.rank <= 3
    ), looked_at as (
        select b.bucket, q.peak
        from (select array_agg(greatest(p_bounds[b.bucket], b.at) order by b.place) as from_at,
                     array_agg(least(p_bounds[b.bucket + 1], b.at + interval '15 minutes') order by b.place) as to_at
              from busiest b having count(*) > 0) a,
             lateral rollcall.quarter_peaks(p_tenant_id, a.from_at, a.to_at, p_open) q
        join busiest b on b.place = q.place
    ), tenant as materialized (
        select p_tenant_id as tenant_id where p_tenant_id is not null
        union all
        select t.tenant_id from rollcall.tenants t where p_tenant_id is null
    ), cut as materialized (
        select n as bucket, e.from_at, e.to_at
        from generate_series(1, v_last) as n,
             lateral (select date_bin('15 minutes', p_bounds[n] + interval '15 minutes' - interval '1 microsecond', 'epoch') as from_at,
                             date_bin('15 minutes', p_bounds[n + 1], 'epoch') as to_at) w,
             lateral (values (p_bounds[n], least(w.from_at, p_bounds[n + 1])),
                             (greatest(w.to_at, w.from_at), p_bounds[n + 1])) as e (from_at, to_at)
        where e.from_at < e.to_at
    ), measured as (
        select e.bucket, sum(rollcall.coverage_seconds(
                   coalesce(c.covered, rollcall.coverage_of(c.session_id, c.participant_id))
                   * tstzmultirange(tstzrange(e.from_at, e.to_at))) * 1000000) as covered_us
        from cut e, tenant t,
             lateral (select o.* from rollcall.participant_coverage o
                      where o.tenant_id = t.tenant_id and o.day = (e.from_at at time zone 'UTC')::date
                        and o.first_at < e.to_at and o.last_at > e.from_at offset 0) c
        group by e.bucket
    )
    select x.bucket, sum(x.covered_us)::bigint, max(x.peak)::bigint
    from (select n as bucket, 0 as covered_us, 0 as peak from generate_series(1, v_last) as n
          union all
          select s.bucket, s.covered_us, 0 from summed s
          union all
          select o.bucket, o.covered_us, 0 from opened o
          union all
          select m.bucket, m.covered_us, 0 from measured m
          union all
          select h.bucket, 0, h.peak from highest h
          union all
          select l.bucket, 0, l.peak from looked_at l) x
    group by x.bucket;
end
$$;

comment on function rollcall.presence_sums(uuid, timestamptz[], uuid[]) is
    'Internal: covered time of a tenant (null: of all) in each bucket and the most participants at the same time.';
