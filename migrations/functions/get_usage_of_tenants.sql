-- One row for each tenant with usage in the period. Exact, without a grace and over at least a whole day (UTC) for all at once
-- (usage_totals); all else tenant by tenant.
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
    v_has_day boolean := date_bin('24 hours', p_from + interval '24 hours' - interval '1 microsecond', 'epoch')
                         < date_bin('24 hours', p_to, 'epoch');
    v_slow uuid[];
    v_has_others boolean;
begin
    v_slow := array(select t.tenant_id from rollcall.tenants t
                    where p_rounding <> 'exact' or not v_has_day or coalesce(p_grace, t.reconnect_grace) > interval '0');
    v_has_others := exists (select from rollcall.tenants t where t.tenant_id <> all (v_slow));
    return query
    with total as (
        select u.* from rollcall.usage_totals(null, p_from, p_to, rollcall.open_sessions(null, p_from, p_to)) u
        where v_has_others and u.tenant_id <> all (v_slow) and u.participants <> 0
    )
    select u.* from unnest(v_slow) as t (tenant_id),
         lateral rollcall.get_usage(t.tenant_id, p_from, p_to, 'tenant', 'UTC', p_rounding, p_grace) u
    union all
    select t.tenant_id, null::date, null::uuid, null::uuid, null::text, t.sessions, t.participants, t.connections,
           t.connected_us / 1000000.0, t.covered_us / 1000000.0, (t.connected_us - t.covered_us) / 1000000.0,
           t.covered_us / 1000000.0, t.uncertainty_us / 1000000.0, t.is_open,
           (select coalesce(sum(sign(a.delta_us::numeric) * rollcall.us_between(greatest(a.starts_at, p_from), least(a.ends_at, p_to))), 0)
                       / 1000000
            from rollcall.billing_adjustments a
            where a.tenant_id = t.tenant_id and a.starts_at < p_to and a.ends_at > p_from),
           w.complete_through
    from total t cross join rollcall.get_billing_watermark() w
    order by 1;
end
$$;

comment on function rollcall.get_usage_of_tenants(timestamptz, timestamptz, text, interval) is
    'Internal: get_usage for the group tenant, one row for each tenant.';
