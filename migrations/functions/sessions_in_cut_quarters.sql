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
    select distinct u.session_id
    from (select distinct date_bin('15 minutes', b, 'epoch') as at from unnest(p_bounds) b
          where date_bin('15 minutes', b, 'epoch') <> b) q,
         -- How long the stretch of a session's day lasts at most is in the index, so only those are read that began shortly enough before.
         lateral (values (0, interval '15 minutes'), (1, interval '1 hour'), (2, interval '4 hours'), (3, interval '24 hours'))
             as l (lasting, at_most),
         rollcall.tenants t,
         lateral (select o.session_id from rollcall.session_usage_day o
                  where o.tenant_id = t.tenant_id and o.lasting = l.lasting
                    and o.first_at >= q.at - l.at_most and o.first_at < q.at + interval '15 minutes' and o.last_at >= q.at
                    and o.participants > 0
                  offset 0) u
    where p_tenant_id is null or t.tenant_id = p_tenant_id;
end
$$;

comment on function rollcall.sessions_in_cut_quarters(uuid, timestamptz[]) is
    'Internal: sessions of a tenant (null: of all) that were there in a quarter of an hour inside which one of the bounds lies.';
