-- The sessions whose stretch of a day (first_at to last_at of session_usage_day) goes over one of some instants. How long such a
-- stretch lasts at most is in the index, so only those are read that began shortly enough before.
drop function if exists rollcall.sessions_crossing(uuid, timestamptz[]);

create function rollcall.sessions_crossing(p_tenant_id uuid, p_instants timestamptz[])
    returns table (at timestamptz, session_id uuid)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
    return query
    select i.at, u.session_id
    from unnest(p_instants) as i (at),
         lateral (values (0, i.at - interval '15 minutes'), (1, i.at - interval '1 hour'), (2, i.at - interval '4 hours'),
                         (3, i.at - interval '24 hours')) as l (lasting, first_at),
         lateral (select o.session_id from rollcall.session_usage_day o
                  where o.tenant_id = p_tenant_id and o.lasting = l.lasting
                    and o.first_at >= l.first_at and o.first_at < i.at and o.last_at > i.at and o.participants > 0
                  offset 0) u;
end
$$;

comment on function rollcall.sessions_crossing(uuid, timestamptz[]) is
    'Internal: sessions of a tenant that were there before and after an instant of the same day (UTC).';
