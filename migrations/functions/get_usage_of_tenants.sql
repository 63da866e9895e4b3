-- One row for each tenant with usage in the period. Exact and without a grace for all at once (usage_flows); all else tenant by
-- tenant.
drop function if exists rollcall.get_usage_of_tenants(timestamptz, timestamptz, text, interval);

create function rollcall.get_usage_of_tenants(p_from timestamptz, p_to timestamptz, p_rounding text, p_grace interval)
    returns table (tenant_id uuid, day date, session_id uuid, participant_id uuid, identity text, sessions bigint,
                   participants bigint, connections bigint, connected_seconds numeric, billable_seconds numeric,
                   overlap_seconds numeric, billed_units numeric, uncertainty_seconds numeric, is_open boolean,
                   adjustments_seconds numeric, complete_through timestamptz)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_slow uuid[] := array(select t.tenant_id from rollcall.tenants t
                           where p_rounding <> 'exact' or coalesce(p_grace, t.reconnect_grace) > interval '0');
begin
    return query
    select u.* from unnest(v_slow) as t (tenant_id),
         lateral rollcall.get_usage(t.tenant_id, p_from, p_to, 'tenant', 'UTC', p_rounding, p_grace) u
    union all
    select f.tenant_id, null::date, null::uuid, null::uuid, null::text, f.sessions, f.participants, f.connections,
           f.connected_us / 1000000.0, f.covered_us / 1000000.0, (f.connected_us - f.covered_us) / 1000000.0,
           f.covered_us / 1000000.0, f.uncertainty_us / 1000000.0, f.is_open, coalesce(a.us, 0) / 1000000, w.complete_through
    from rollcall.usage_flows(null, array[p_from, p_to], rollcall.open_sessions(null, p_from, p_to)) f
    left join (select x.tenant_id, sum(x.us) as us from rollcall.adjustments_in(null, array[p_from, p_to]) x group by x.tenant_id) a
        on a.tenant_id = f.tenant_id
    cross join rollcall.get_billing_watermark() w
    where exists (select from rollcall.tenants t where t.tenant_id <> all (v_slow)) and f.tenant_id <> all (v_slow)
    order by 1;
end
$$;

comment on function rollcall.get_usage_of_tenants(timestamptz, timestamptz, text, interval) is
    'Internal: get_usage for the group tenant, one row for each tenant.';
