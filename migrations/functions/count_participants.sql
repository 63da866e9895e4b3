-- How many participants were there in each bucket, each once; those with connections that are still open among them. Bucket n
-- lies between bounds n and n+1. Of one tenant as usage_flows() says; of all tenants in the same way, out of the quarters of an
-- hour summed over them.
drop function if exists rollcall.count_participants(uuid, timestamptz, timestamptz, uuid[]);
drop function if exists rollcall.count_participants(uuid, timestamptz[], uuid[]);

create function rollcall.count_participants(p_tenant_id uuid, p_bounds timestamptz[], p_open uuid[])
    returns table (bucket integer, participants bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    -- As in usage_flows().
    v_bounds timestamptz[];
    v_bucket_of integer[];
    v_last integer;
    v_single uuid[];
begin
    if p_tenant_id is not null then
        return query select u.bucket, u.participants from rollcall.usage_flows(p_tenant_id, p_bounds, p_open) u;
        return;
    end if;
    select b.bounds, b.bucket_of, cardinality(b.bounds) - 1 into v_bounds, v_bucket_of, v_last from rollcall.whole_quarters(p_bounds) b;
    v_single := array(select c.session_id from rollcall.sessions_in_cut_quarters(null, p_bounds) c
                      union select o.session_id from unnest(p_open) as o (session_id));
    return query
    select x.bucket, sum(x.participants)::bigint
    from (select v_bucket_of[width_bucket(u.bucket, v_bounds)] as bucket,
                 sum(u.participants_new + case when u.bucket = any (v_bounds) then u.participants_carried else 0 end) as participants
          from rollcall.total_15m u where u.bucket >= v_bounds[1] and u.bucket < v_bounds[v_last + 1]
          group by 1
          union all
          select v_bucket_of[r.n], r.participants
          from (select o.*, width_bucket(o.bucket, v_bounds) as n from rollcall.usage_returns o
                where o.bucket >= v_bounds[1] and o.bucket < v_bounds[v_last + 1]) r
          where r.since < v_bounds[r.n]
          union all
          select v_bucket_of[u.bucket], -count(*)
          from rollcall.usage_pieces(v_single, v_bounds, false, interval '0') u where cardinality(v_single) > 0 group by u.bucket
          union all
          select u.bucket, count(*)
          from rollcall.usage_pieces(v_single, p_bounds, true, interval '0') u where cardinality(v_single) > 0 group by u.bucket) x
    group by x.bucket having sum(x.participants) <> 0;
end
$$;

comment on function rollcall.count_participants(uuid, timestamptz[], uuid[]) is
    'Internal: participants of sessions of a tenant (null: of all) in each bucket that had any; p_open are the sessions with open connections.';
