-- One row for each tenant with usage in the period. Whole days (UTC), exact and without grace, come out of usage_day; all
-- else tenant by tenant.
--
-- Over several days the sums are put together without looking at the sessions: new ones of each day and, once each, those
-- that were there before the period; connections of each day less those carried over, and those carried into the first.
drop function if exists rollcall.get_usage_of_tenants(timestamptz, timestamptz, text, interval);

create function rollcall.get_usage_of_tenants(p_from timestamptz, p_to timestamptz, p_rounding text, p_grace interval)
    returns table (tenant_id uuid, day date, session_id uuid, participant_id uuid, identity text, sessions bigint,
                   participants bigint, connections bigint, connected_seconds numeric, billable_seconds numeric,
                   overlap_seconds numeric, billed_units numeric, uncertainty_seconds numeric, is_open boolean,
                   adjustments_seconds numeric, complete_through timestamptz)
    language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_day date := (p_from at time zone 'UTC')::date;
    v_day_to date := (p_to at time zone 'UTC')::date;
    v_open uuid[];
    v_slow uuid[];
begin
    if p_rounding = 'exact' and date_bin('24 hours', p_from, 'epoch') = p_from and date_bin('24 hours', p_to, 'epoch') = p_to then
        v_slow := array(select t.tenant_id from rollcall.tenants t where coalesce(p_grace, t.reconnect_grace) > interval '0');
    else
        v_slow := array(select t.tenant_id from rollcall.tenants t);
    end if;
    v_open := rollcall.open_sessions(null, p_from, p_to);
    return query
    with slow as (
        select u.* from unnest(v_slow) as t (tenant_id),
             lateral rollcall.get_usage(t.tenant_id, p_from, p_to, 'tenant', 'UTC', p_rounding, p_grace) u
    ), flat as (
        select u.tenant_id, sum(u.sessions_new) as sessions, sum(u.participants_new) as participants,
               sum(u.connections) - coalesce(sum(u.connections_carried) filter (where u.day > v_day), 0) as connections,
               sum(u.connected_us) as connected_us, sum(u.covered_us) as covered_us, sum(u.uncertainty_us) as uncertainty_us
        from rollcall.usage_day u
        where u.day >= v_day and u.day < v_day_to and cardinality(v_slow) < (select count(*) from rollcall.tenants)
        group by u.tenant_id
    ), piece as (
        select x.sign, u.tenant_id, u.session_id, count(*) as participants, sum(u.connections) as connections,
               sum(u.connected_us) as connected_us, sum(u.covered_us) as covered_us,
               sum(u.uncertainty_us) as uncertainty_us, bool_or(u.is_open) as is_open
        from (values (1, true), (-1, false)) as x (sign, with_open),
             lateral rollcall.usage_pieces(v_open, array[p_from, p_to], x.with_open, interval '0') u
        where cardinality(v_open) > 0
        group by x.sign, u.tenant_id, u.session_id
    ), summed as (
        select f.tenant_id, f.sessions, f.participants, f.connections, f.connected_us, f.covered_us, f.uncertainty_us,
               false as is_open
        from flat f
        union all
        select p.tenant_id, sum(p.sign), sum(p.sign * p.participants), sum(p.sign * p.connections),
               sum(p.sign * p.connected_us), sum(p.sign * p.covered_us), sum(p.sign * p.uncertainty_us), bool_or(p.is_open)
        from piece p group by p.tenant_id
        union all
        -- Who was there before the period and came back in it.
        select c.tenant_id, 0, count(distinct (c.session_id, c.participant_id)), 0, 0, 0, 0, false
        from rollcall.participant_coverage c
        where c.day > c.first_day and c.day >= v_day and c.day < v_day_to and c.first_day < v_day and c.connections > 0
        group by c.tenant_id
        union all
        select c.tenant_id, count(distinct c.session_id), 0, 0, 0, 0, 0, false
        from rollcall.session_usage_day c
        where c.day > c.first_day and c.day >= v_day and c.day < v_day_to and c.first_day < v_day and c.participants > 0
        group by c.tenant_id
    ), total as (
        select s.tenant_id, sum(s.sessions) as sessions, sum(s.participants) as participants,
               sum(s.connections) as connections, sum(s.connected_us) as connected_us, sum(s.covered_us) as covered_us,
               sum(s.uncertainty_us) as uncertainty_us, bool_or(s.is_open) as is_open
        from summed s where s.tenant_id <> all (v_slow) group by s.tenant_id having sum(s.participants) <> 0
    )
    select u.* from slow u
    union all
    select t.tenant_id, null::date, null::uuid, null::uuid, null::text, t.sessions::bigint, t.participants::bigint,
           t.connections::bigint, t.connected_us / 1000000.0, t.covered_us / 1000000.0,
           (t.connected_us - t.covered_us) / 1000000.0, t.covered_us / 1000000.0, t.uncertainty_us / 1000000.0, t.is_open,
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
