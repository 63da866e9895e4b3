-- How long participants were there in each bucket, summed, and how many at most at the same time; bucket n lies between bounds
-- n and n+1. Out of the quarters of an hour; where a bound cuts a quarter, out of the participants of that day. Open
-- connections come on top, up to their last evidence.
--
-- The peak is known at each full minute. Between two minutes more may have been there for a moment: the three quarters of a
-- bucket that can hold the most (those present at their start, and all that joined) are looked at arrival by arrival, where
-- the days of the whole period have up to 5,000 new participants in all. So the peak is exact where little happens and exact to
-- the minute where much does.
drop function if exists rollcall.presence_sums(uuid, timestamptz, timestamptz, uuid[]);
drop function if exists rollcall.presence_sums(uuid, timestamptz[], uuid[]);

create function rollcall.presence_sums(p_tenant_id uuid, p_bounds timestamptz[], p_open uuid[])
    returns table (bucket integer, covered_us bigint, peak bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
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
        v_is_exact := 5000 >= (select coalesce(sum(u.participants_new), 0) from rollcall.total_15m u
                               where u.bucket >= date_bin('24 hours', v_from, 'epoch') and u.bucket < v_to);
    else
        v_is_exact := 5000 >= (select coalesce(sum(u.participants_new), 0) from rollcall.usage_day u
                               where u.tenant_id = p_tenant_id
                                 and u.day between (v_from at time zone 'UTC')::date and (v_to at time zone 'UTC')::date);
    end if;
    return query
    with quarter as not materialized (
        select u.bucket as at, u.covered_us, u.joins, u.present, u.present_max from rollcall.usage_15m u
        where p_tenant_id is not null and u.tenant_id = p_tenant_id
          and u.bucket > v_from - interval '15 minutes' and u.bucket < v_to
        union all
        select u.bucket, u.covered_us, u.joins, u.present, u.present_max from rollcall.total_15m u
        where p_tenant_id is null and u.bucket > v_from - interval '15 minutes' and u.bucket < v_to
    ), piece as materialized (
        select width_bucket(q.at, p_bounds) as bucket, q.at, q.covered_us, 0 as open_us, q.joins, q.present, q.present_max
        from quarter q where not v_cuts
        union all
        -- A quarter that a bound cuts is in the bucket before and in the one after.
        select b.bucket, q.at, q.covered_us, 0, q.joins, q.present, q.present_max
        from quarter q,
             lateral generate_series(
                 greatest(1, width_bucket(q.at, p_bounds)),
                 least(v_last, width_bucket(q.at + interval '15 minutes' - interval '1 microsecond', p_bounds))) as b (bucket)
        where v_cuts
        union all
        -- What is open is cut to the bucket already.
        select n, o.bucket, 0, o.covered_us, o.joins, o.present, null
        from generate_series(1, v_last) as n, lateral rollcall.open_minutes(p_open, p_bounds[n], p_bounds[n + 1]) o
        where p_bounds[n + 1] > v_open_from
    ), placed as materialized (
        select p.bucket, p.at,
               p.at >= p_bounds[p.bucket] and p.at + interval '15 minutes' <= p_bounds[p.bucket + 1] as is_whole,
               sum(p.covered_us)::bigint as covered_us, sum(p.open_us)::bigint as open_us,
               sum(p.present[1] + p.joins::integer) as possible,
               case when count(*) = 1 then min(p.present_max) end as highest,
               case when count(*) = count(p.present_max) then sum(p.present_max) end as highest_possible
        from piece p group by p.bucket, p.at
    ), summed as materialized (
        select p.bucket, sum(case when p.is_whole then p.covered_us else 0 end + p.open_us) as covered_us,
               coalesce(max(p.highest) filter (where p.is_whole), 0) as peak
        from placed p group by p.bucket
    ), minutes as (
        -- Minute by minute where several counted, or a bound leaves some minutes out, unless that is too little for the peak.
        select x.bucket,
               (select max(m.n) from unnest(x.present) with ordinality as m (n, minute)
                where x.is_whole or (x.at + (m.minute - 1) * interval '1 minute' >= p_bounds[x.bucket]
                                     and x.at + (m.minute - 1) * interval '1 minute' < p_bounds[x.bucket + 1])) as highest
        from (select g.bucket, g.at, g.is_whole, array[
                  sum(p.present[1]), sum(p.present[2]), sum(p.present[3]), sum(p.present[4]), sum(p.present[5]),
                  sum(p.present[6]), sum(p.present[7]), sum(p.present[8]), sum(p.present[9]), sum(p.present[10]),
                  sum(p.present[11]), sum(p.present[12]), sum(p.present[13]), sum(p.present[14]), sum(p.present[15])] as present
              from placed g join summed s using (bucket) join piece p using (bucket, at)
              where (not g.is_whole or g.highest is null) and (g.highest_possible > s.peak) is not false
              group by g.bucket, g.at, g.is_whole) x
    ), highest as materialized (
        select h.bucket, max(h.peak) as peak
        from (select s.bucket, s.peak from summed s union all select m.bucket, coalesce(m.highest, 0) from minutes m) h
        group by h.bucket
    ), busiest as materialized (
        select b.*, row_number() over () as place
        from (select p.bucket, p.at, p.possible,
                     row_number() over (partition by p.bucket order by p.possible desc, p.at) as rank
              from placed p where v_is_exact) b
        join highest h using (bucket)
        where b.rank <= 3 and b.possible > h.peak
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
