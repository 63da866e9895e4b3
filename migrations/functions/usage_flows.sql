-- What each tenant (or the one given) used in each bucket, exact and without a grace; bucket n lies between bounds n and n+1.
--
-- A difference of sums: how much there was, and who was new, is added up by day (UTC) and from the midnight next to each bound by
-- quarter of an hour. Who else was in a bucket either came over its bound without a pause (carried) or came back after one that
-- began before the bound (usage_returns). Only sessions that were there in a quarter that a bound cuts, or that have open
-- connections, are counted from their spans.
drop function if exists rollcall.usage_totals(uuid, timestamptz, timestamptz);
drop function if exists rollcall.usage_totals(uuid, timestamptz, timestamptz, uuid[]);
drop function if exists rollcall.usage_flows(uuid, timestamptz[], uuid[]);

create function rollcall.usage_flows(p_tenant_id uuid, p_bounds timestamptz[], p_open uuid[])
    returns table (tenant_id uuid, bucket integer, sessions bigint, participants bigint, connections bigint,
                   connected_us bigint, covered_us bigint, uncertainty_us bigint, is_open boolean)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set enable_sort = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    -- What is added up are whole quarters of an hour.
    v_bounds timestamptz[];
    v_bucket_of integer[];
    v_last integer;
    -- The midnight (UTC) next to each bound.
    v_nights timestamptz[];
    -- Sessions of which sums do not say in which bucket they were, and those with open connections.
    v_single uuid[];
begin
    select b.bounds, b.bucket_of, cardinality(b.bounds) - 1 into v_bounds, v_bucket_of, v_last from rollcall.whole_quarters(p_bounds) b;
    v_nights := array(select date_bin('24 hours', b.at + interval '12 hours', 'epoch')
                      from unnest(v_bounds) with ordinality as b (at, n) order by b.n);
    v_single := array(select c.session_id from rollcall.sessions_in_cut_quarters(p_tenant_id, p_bounds) c
                      union select o.session_id from unnest(p_open) as o (session_id));
    return query
    with tenant as materialized (
        select t.tenant_id from rollcall.tenants t where p_tenant_id is null or t.tenant_id = p_tenant_id
    ), bound as materialized (
        select n, v_bounds[n] as at, case when v_nights[n] <= v_bounds[n] then 1 else -1 end as sign,
               least(v_nights[n], v_bounds[n]) as from_at, greatest(v_nights[n], v_bounds[n]) as to_at
        from generate_series(1, v_last + 1) as n
    ), step as (
        -- From the midnight to the bound: what lies before a bound belongs to the bucket that ends there.
        select t.tenant_id, b.n, b.sign * q.sessions as sessions, b.sign * q.participants as participants,
               b.sign * q.joins as connections, b.sign * q.connected_us as connected_us, b.sign * q.covered_us as covered_us,
               b.sign * q.uncertainty_us as uncertainty_us
        from bound b, tenant t,
             lateral (select sum(u.sessions_new) as sessions, sum(u.participants_new) as participants, sum(u.joins) as joins,
                             sum(u.connected_us) as connected_us, sum(u.covered_us) as covered_us,
                             sum(u.uncertainty_us) as uncertainty_us
                      from rollcall.usage_15m u
                      where u.tenant_id = t.tenant_id and u.bucket >= b.from_at and u.bucket < b.to_at) q
        where b.from_at < b.to_at and q.joins is not null
    ), flow as (
        select u.tenant_id, width_bucket(u.day::timestamp at time zone 'UTC', v_nights) as bucket,
               sum(u.sessions_new) as sessions, sum(u.participants_new) as participants,
               sum(u.connections - u.connections_carried) as connections, sum(u.connected_us) as connected_us,
               sum(u.covered_us) as covered_us, sum(u.uncertainty_us) as uncertainty_us
        from (select d.* from rollcall.usage_day d
              where p_tenant_id is not null and d.tenant_id = p_tenant_id
                and d.day >= (v_nights[1] at time zone 'UTC')::date and d.day < (v_nights[v_last + 1] at time zone 'UTC')::date
              union all
              select d.* from rollcall.usage_day d
              where p_tenant_id is null
                and d.day >= (v_nights[1] at time zone 'UTC')::date and d.day < (v_nights[v_last + 1] at time zone 'UTC')::date) u
        group by 1, 2
        union all
        select s.tenant_id, s.n - 1, s.sessions, s.participants, s.connections, s.connected_us, s.covered_us, s.uncertainty_us
        from step s where s.n > 1
        union all
        select s.tenant_id, s.n, -s.sessions, -s.participants, -s.connections, -s.connected_us, -s.covered_us, -s.uncertainty_us
        from step s where s.n <= v_last
        union all
        select t.tenant_id, b.n, u.sessions_carried, u.participants_carried, u.connections_carried, 0, 0, 0
        from bound b, tenant t,
             lateral (select o.* from rollcall.usage_15m o where o.tenant_id = t.tenant_id and o.bucket = b.at offset 0) u
        where b.n <= v_last
        union all
        select r.tenant_id, r.n, sum(r.sessions), sum(r.participants), 0, 0, 0, 0
        from (select o.*, width_bucket(o.bucket, v_bounds) as n
              from (select x.* from rollcall.usage_returns x
                    where p_tenant_id is not null and x.tenant_id = p_tenant_id
                      and x.bucket >= v_bounds[1] and x.bucket < v_bounds[v_last + 1]
                    union all
                    select x.* from rollcall.usage_returns x
                    where p_tenant_id is null and x.bucket >= v_bounds[1] and x.bucket < v_bounds[v_last + 1]) o) r
        where r.since < v_bounds[r.n]
        group by r.tenant_id, r.n
    ), single as (
        -- Taken out as they are counted above, and put in as they are.
        select x.tenant_id, x.bucket, x.sign, x.session_id, count(*) as participants, sum(x.connections) as connections,
               sum(x.connected_us) as connected_us, sum(x.covered_us) as covered_us, sum(x.uncertainty_us) as uncertainty_us,
               bool_or(x.is_open) as is_open
        from (select -1 as sign, v_bucket_of[u.bucket] as bucket, u.tenant_id, u.session_id, u.connections, u.connected_us,
                     u.covered_us, u.uncertainty_us, false as is_open
              from rollcall.usage_pieces(v_single, v_bounds, false, interval '0') u where cardinality(v_single) > 0
              union all
              select 1, u.bucket, u.tenant_id, u.session_id, u.connections, u.connected_us, u.covered_us, u.uncertainty_us,
                     u.is_open
              from rollcall.usage_pieces(v_single, p_bounds, true, interval '0') u where cardinality(v_single) > 0) x
        group by x.tenant_id, x.bucket, x.sign, x.session_id
    )
    select x.tenant_id, x.bucket, sum(x.sessions)::bigint, sum(x.participants)::bigint, sum(x.connections)::bigint,
           sum(x.connected_us)::bigint, sum(x.covered_us)::bigint, sum(x.uncertainty_us)::bigint, bool_or(x.is_open)
    from (select f.tenant_id, v_bucket_of[f.bucket] as bucket, f.sessions, f.participants, f.connections, f.connected_us,
                 f.covered_us, f.uncertainty_us, false as is_open
          from flow f
          union all
          select s.tenant_id, s.bucket, s.sign, s.sign * s.participants, s.sign * s.connections, s.sign * s.connected_us,
                 s.sign * s.covered_us, s.sign * s.uncertainty_us, s.is_open
          from single s) x
    group by x.tenant_id, x.bucket having sum(x.participants) <> 0;
end
$$;

comment on function rollcall.usage_flows(uuid, timestamptz[], uuid[]) is
    'Internal: usage of each tenant (null: all) in each bucket, exact and without a grace; p_open are the sessions with open connections.';
