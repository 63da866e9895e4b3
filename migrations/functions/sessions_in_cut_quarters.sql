-- The sessions that were there in a quarter of an hour inside which a bound lies: sums by quarter do not say on which side of it.
drop function if exists rollcall.sessions_in_cut_quarters(uuid, timestamptz[]);

create function rollcall.sessions_in_cut_quarters(p_tenant_id uuid, p_bounds timestamptz[]) returns table (session_id uuid)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
    -- Most bounds cut none, which is quickly seen.
    if not exists (select from unnest(p_bounds) b where date_bin('15 minutes', b, 'epoch') <> b) then
        return;
    end if;
    return query
    select distinct d.session_id
    from (select array_agg(q.at) as from_at, array_agg(q.at + interval '15 minutes') as to_at
          from (select distinct date_bin('15 minutes', b, 'epoch') as at from unnest(p_bounds) b
                where date_bin('15 minutes', b, 'epoch') <> b) q) c,
         lateral rollcall.sessions_during(p_tenant_id, c.from_at, c.to_at) d;
end
$$;

comment on function rollcall.sessions_in_cut_quarters(uuid, timestamptz[]) is
    'Internal: sessions of a tenant (null: of all) that were there in a quarter of an hour inside which one of the bounds lies.';
