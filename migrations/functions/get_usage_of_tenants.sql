-- One row for each tenant with usage in the period. Whole days (UTC), exact and without grace, come out of usage_day, and what
-- the period has of a day before and after them session by session; all else tenant by tenant.
--
-- Over several whole days the sums are put together without looking at the sessions: new ones of each day and, once each, those
-- that were there before the period; connections of each day less those carried over, and those carried into the first.
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
    -- Whole days (UTC), and the days before and after them that the period cuts.
    v_whole timestamptz := date_bin('24 hours', p_from + interval '24 hours' - interval '1 microsecond', 'epoch');
    v_whole_to timestamptz := date_bin('24 hours', p_to, 'epoch');
    v_day date := (v_whole at time zone 'UTC')::date;
    v_day_to date := (v_whole_to at time zone 'UTC')::date;
    v_head date := case when p_from < v_whole then v_day - 1 end;
    v_tail date := case when p_to > v_whole_to then v_day_to end;
    v_others uuid[];
    v_slow uuid[];
begin
    v_slow := array(select t.tenant_id from rollcall.tenants t
                    where p_rounding <> 'exact' or v_whole >= v_whole_to
                       or coalesce(p_grace, t.reconnect_grace) > interval '0');
    if cardinality(v_slow) = (select count(*) from rollcall.tenants) then
        return query
            select u.* from unnest(v_slow) as t (tenant_id),
                 lateral rollcall.get_usage(t.tenant_id, p_from, p_to, 'tenant', 'UTC', p_rounding, p_grace) u
            order by 1;
        return;
    end if;
    -- Sessions that do not fit: with open connections, across an end of the period or of its whole days, or counted twice
    -- when a cut day and the rest are put together.
    v_others := array(
        select o.session_id from unnest(rollcall.open_sessions(null, p_from, p_to)) as o (session_id)
        union
        select u.session_id
        from rollcall.tenants t, (values (v_head), (v_tail)) as e (day),
             lateral (select o.* from rollcall.session_usage_day o
                      where o.tenant_id = t.tenant_id and o.day = e.day and o.participants > 0 offset 0) u
        where (u.day = v_head and ((u.first_at < p_from and u.last_at > p_from) or u.last_at = v_whole))
           or (u.day = v_tail and ((u.first_at < p_to and u.last_at > p_to) or u.first_at = v_whole_to))
        union
        select u.session_id from rollcall.session_usage_day u
        where u.day > u.first_day and u.day between coalesce(v_head, v_day) and coalesce(v_tail, v_day_to - 1)
          and u.participants > 0 and (u.day = v_head or u.day = v_tail or u.first_day = v_head));
    return query
    with slow as (
        select u.* from unnest(v_slow) as t (tenant_id),
             lateral rollcall.get_usage(t.tenant_id, p_from, p_to, 'tenant', 'UTC', p_rounding, p_grace) u
    ), flat as (
        select u.tenant_id, sum(u.sessions_new) as sessions, sum(u.participants_new) as participants,
               sum(u.connections) - coalesce(sum(u.connections_carried) filter (where u.day > v_day), 0) as connections,
               sum(u.connected_us) as connected_us, sum(u.covered_us) as covered_us, sum(u.uncertainty_us) as uncertainty_us
        from rollcall.usage_day u
        where u.day >= v_day and u.day < v_day_to
        group by u.tenant_id
    ), cut as (
        select u.tenant_id, count(*) as sessions, sum(u.participants) as participants, sum(u.connections) as connections,
               sum(u.connected_us) as connected_us, sum(u.covered_us) as covered_us, sum(u.uncertainty_us) as uncertainty_us
        from rollcall.tenants t, (values (v_head), (v_tail)) as e (day),
             lateral (select o.* from rollcall.session_usage_day o
                      where o.tenant_id = t.tenant_id and o.day = e.day and o.participants > 0 offset 0) u
        where u.first_at >= p_from and u.first_at < p_to
          and u.session_id not in (select o.session_id from unnest(v_others) as o (session_id))
        group by u.tenant_id
    ), piece as (
        -- What the others have in the period, less what of that is in the whole days already.
        select 1 as sign, u.tenant_id, u.session_id, count(*) as participants, sum(u.connections) as connections,
               sum(u.connected_us) as connected_us, sum(u.covered_us) as covered_us,
               sum(u.uncertainty_us) as uncertainty_us, bool_or(u.is_open) as is_open
        from rollcall.usage_pieces(v_others, array[p_from, p_to], true, interval '0') u
        group by u.tenant_id, u.session_id
        union all
        select -1, u.tenant_id, u.session_id, count(*), sum(u.connections), sum(u.connected_us), sum(u.covered_us),
               sum(u.uncertainty_us), false
        from rollcall.usage_pieces(v_others, array[v_whole, v_whole_to], false, interval '0') u
        group by u.tenant_id, u.session_id
    ), summed as (
        select f.tenant_id, f.sessions, f.participants, f.connections, f.connected_us, f.covered_us, f.uncertainty_us,
               false as is_open
        from flat f
        union all
        select c.tenant_id, c.sessions, c.participants, c.connections, c.connected_us, c.covered_us, c.uncertainty_us, false
        from cut c
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
