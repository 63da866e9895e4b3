-- The sessions whose stretch of a day (first_at to last_at of session_usage_day) touches each of some periods, every one inside a
-- day; of an instant, given as a period from it to itself, those that were there before and after. How long such a stretch lasts
-- at most is in the index, so only those are read that began shortly enough before.
drop function if exists rollcall.sessions_crossing(uuid, timestamptz[]);

create or replace function rollcall.sessions_during(p_tenant_id uuid, p_from timestamptz[], p_to timestamptz[])
    returns table (place bigint, session_id uuid)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
    return query
    select p.place, u.session_id
    from unnest(p_from, p_to) with ordinality as p (from_at, to_at, place),
         (values (0, interval '15 minutes'), (1, interval '1 hour'), (2, interval '4 hours'), (3, interval '24 hours'))
             as l (lasting, at_most),
         rollcall.tenants t,
         lateral (select o.session_id from rollcall.session_usage_day o
                  where o.tenant_id = t.tenant_id and o.lasting = l.lasting
                    and o.first_at >= p.from_at - l.at_most and o.first_at < p.to_at
                    -- A span of no length is in the period in which it begins.
                    and (o.last_at > p.from_at or o.first_at >= p.from_at) and o.participants > 0
                  offset 0) u
    where p_tenant_id is null or t.tenant_id = p_tenant_id;
end
$$;

comment on function rollcall.sessions_during(uuid, timestamptz[], timestamptz[]) is
    'Internal: the sessions of a tenant (null: of all) that were there in each of some periods inside a day (UTC).';
