-- Usage of a tenant by day, session or participant, or of tenants as wholes. Rounding happens once in each row of the
-- answer: a connection over midnight is two connections when grouped by day.
--
-- Days and the tenant as a whole, exact, are differences of sums (usage_flows): they cost the same however busy it was. Rounded,
-- whole days (UTC) come out of usage_day, and other periods out of the quarters of an hour and session by session where one
-- crosses a bound (usage_stays). What names sessions or participants, or has a grace, comes out of participant_coverage
-- (usage_parts). What open connections add to whole days until now is the difference of two looks at their sessions, with
-- and without the open ones.
drop function if exists rollcall.get_usage(uuid, timestamptz, timestamptz, text, text, text);
drop function if exists rollcall.get_usage(uuid, timestamptz, timestamptz, text, text, text, interval);

create function rollcall.get_usage(
    p_tenant_id uuid,
    p_from timestamptz,
    p_to timestamptz,
    p_group text default 'day',
    p_tz text default 'UTC',
    p_rounding text default 'exact',
    p_grace interval default null
) returns table (tenant_id uuid, day date, session_id uuid, participant_id uuid, identity text, sessions bigint,
                 participants bigint, connections bigint, connected_seconds numeric, billable_seconds numeric,
                 overlap_seconds numeric, billed_units numeric, uncertainty_seconds numeric, is_open boolean,
                 adjustments_seconds numeric, complete_through timestamptz)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_grace interval;
    v_bounds timestamptz[] := array[p_from, p_to];
    v_days date[] := array[null::date];
    v_last integer;
    -- Buckets v_flat to v_flat_to are whole days (UTC).
    v_flat integer;
    v_flat_to integer;
    -- Whether nothing in the answer needs single participants.
    v_by_stays boolean;
begin
    perform rollcall.check_arguments(coalesce(p_rounding, 'null'), coalesce(p_tz, 'null'), p_from, p_to, p_grace);
    if p_group is null or p_group not in ('day', 'session', 'participant', 'tenant') then
        raise exception 'unknown group "%"', coalesce(p_group, 'null')
            using errcode = 'invalid_parameter_value', hint = 'One of day, session, participant, tenant.';
    end if;
    if p_from is null or p_to is null or not isfinite(p_from) or not isfinite(p_to)
       or (p_tenant_id is null and p_group <> 'tenant') then
        raise exception 'get_usage needs a tenant and a finite period'
            using errcode = 'invalid_parameter_value',
                  hint = 'Give p_tenant_id, p_from and p_to; without a tenant only the group tenant makes sense.';
    end if;
    if p_tenant_id is null then
        return query select * from rollcall.get_usage_of_tenants(p_from, p_to, p_rounding, p_grace);
        return;
    end if;
    select coalesce(p_grace, t.reconnect_grace) into v_grace from rollcall.tenants t where t.tenant_id = p_tenant_id;
    if not found then
        raise exception 'unknown tenant %', p_tenant_id
            using errcode = 'no_data_found', hint = 'Look it up in rollcall.tenants.';
    end if;

    if p_group = 'day' then
        select array_agg(d.lower_at order by d.lower_at) || p_to, array_agg(d.label::date order by d.lower_at)
        into v_bounds, v_days from rollcall.time_buckets('day', p_tz, p_from, p_to) d;
    end if;
    v_last := cardinality(v_bounds) - 1;
    if p_rounding = 'exact' and v_grace = interval '0' and p_group in ('day', 'tenant') then
        return query
        select p_tenant_id, v_days[f.bucket], null::uuid, null::uuid, null::text, f.sessions, f.participants, f.connections,
               f.connected_us / 1000000.0, f.covered_us / 1000000.0, (f.connected_us - f.covered_us) / 1000000.0,
               f.covered_us / 1000000.0, f.uncertainty_us / 1000000.0, f.is_open, coalesce(a.us, 0) / 1000000,
               w.complete_through
        from rollcall.usage_flows(p_tenant_id, v_bounds, rollcall.open_sessions(p_tenant_id, p_from, p_to)) f
        left join (select x.bucket, sum(x.us) as us from rollcall.adjustments_in(p_tenant_id, v_bounds) x group by x.bucket) a
            on a.bucket = f.bucket
        cross join rollcall.get_billing_watermark() w
        order by f.bucket;
        return;
    end if;
    v_by_stays := p_group in ('day', 'tenant') and v_grace = interval '0';
    v_flat := v_last + 1;
    v_flat_to := v_last;
    if p_group = 'day' and v_grace = interval '0'
       and not exists (select from unnest(v_bounds[2:v_last]) b where date_bin('24 hours', b, 'epoch') <> b) then
        v_flat := case when date_bin('24 hours', p_from, 'epoch') = p_from then 1 else 2 end;
        v_flat_to := case when date_bin('24 hours', p_to, 'epoch') = p_to then v_last else v_last - 1 end;
        if v_flat > v_flat_to then
            v_flat := v_last + 1;
            v_flat_to := v_last;
        end if;
    end if;

    return query
    with open (sessions) as materialized (
        select case when v_flat <= v_flat_to
                    then rollcall.open_sessions(p_tenant_id, v_bounds[v_flat], v_bounds[v_flat_to + 1]) end
    ), range (shift, bounds) as (
        -- What is not whole days: all of it, or what comes before and after them.
        select 0, v_bounds[1:v_flat]
        union all
        select v_flat_to, v_bounds[v_flat_to + 1:v_last + 1] where v_flat <= v_flat_to
    ), stay as materialized (
        select r.shift, r.bounds, u.*
        from range r, lateral rollcall.usage_stays(p_tenant_id, r.bounds) u
        where v_by_stays
    ), piece as (
        -- Each participant once in a bucket.
        select 1 as sign, u.bucket + s.shift as bucket, u.session_id, u.participant_id, u.connections, u.connected_us,
               u.covered_us, u.billable_us, u.connection_minutes, u.uncertainty_us, u.is_open
        from stay s, lateral rollcall.usage_pieces(s.others, s.bounds, true, v_grace) u
        where s.bucket = 0 and cardinality(s.others) > 0
        union all
        select x.sign, u.bucket + v_flat - 1, u.session_id, u.participant_id, u.connections, u.connected_us, u.covered_us,
               u.billable_us, u.connection_minutes, u.uncertainty_us, u.is_open
        from open o, (values (1, true), (-1, false)) as x (sign, with_open),
             lateral rollcall.usage_pieces(o.sessions, v_bounds[v_flat:v_flat_to + 1], x.with_open, v_grace) u
        where cardinality(o.sessions) > 0
    ), participant as (
        select p.* from piece p
        union all
        select 1, u.bucket + r.shift, u.session_id, u.participant_id, sum(u.connections)::bigint,
               sum(u.connected_us)::bigint, sum(u.covered_us)::bigint, sum(u.billable_us)::bigint,
               sum(u.connection_minutes)::bigint, sum(u.uncertainty_us)::bigint, bool_or(u.is_open)
        from range r, lateral rollcall.usage_parts(p_tenant_id, r.bounds, v_grace) u
        where not v_by_stays
        group by u.bucket + r.shift, u.session_id, u.participant_id
    ), rounded as (
        -- Running sums, so that rounding once per session still gives rows that add up to the rounded total.
        select p.*, case p_rounding when 'minute_per_session' then
                        ceil(p.running_us / 60000000) - ceil((p.running_us - p.billable_us) / 60000000)
                    else rollcall.round_usage(p_rounding, p.billable_us, p.connection_minutes) end as units
        from (select p.*, null::numeric as running_us from participant p where p_rounding <> 'minute_per_session'
              union all
              select p.*, sum(p.billable_us) over (partition by p.bucket, p.session_id, p.sign order by p.participant_id)
              from participant p where p_rounding = 'minute_per_session') p
    ), meeting as (
        -- Session by session first, so that sessions are counted without sorting.
        select r.bucket, r.sign, r.session_id, case when p_group = 'participant' then r.participant_id end as participant_id,
               count(*) as participants, sum(r.connections) as connections, sum(r.connected_us) as connected_us,
               sum(r.covered_us) as covered_us, sum(r.billable_us) as billable_us, sum(r.units) as units,
               sum(r.uncertainty_us) as uncertainty_us, bool_or(r.is_open) as is_open
        from rounded r group by 1, 2, 3, 4
    ), summed as (
        select m.bucket, case when p_group in ('session', 'participant') then m.session_id end as session_id,
               m.participant_id, sum(m.sign) as sessions, sum(m.sign * m.participants) as participants,
               sum(m.sign * m.connections) as connections, sum(m.sign * m.connected_us) as connected_us,
               sum(m.sign * m.covered_us) as covered_us, sum(m.sign * m.billable_us) as billable_us,
               sum(m.sign * m.units) as units, sum(m.sign * m.uncertainty_us) as uncertainty_us, bool_or(m.is_open) as is_open
        from meeting m group by 1, 2, 3
        union all
        select s.bucket + s.shift, null, null, s.sessions, s.participants, s.connections, s.connected_us, s.covered_us,
               s.covered_us,
               case p_rounding
                   when 'second' then s.whole_seconds
                   when 'minute_per_connection' then s.connection_minutes
                   when 'minute_per_participant' then s.participant_minutes
                   else s.session_minutes
               end,
               s.uncertainty_us, false
        from stay s where s.bucket > 0
        union all
        select v_flat + (u.day - v_days[v_flat]), null, null, sum(u.sessions), sum(u.participants), sum(u.connections),
               sum(u.connected_us), sum(u.covered_us), sum(u.covered_us),
               case p_rounding
                   when 'second' then sum(u.whole_seconds)
                   when 'minute_per_connection' then sum(u.connection_minutes)
                   when 'minute_per_participant' then sum(u.participant_minutes)
                   else sum(u.session_minutes)
               end,
               sum(u.uncertainty_us), false
        from rollcall.usage_day u
        where v_flat <= v_flat_to and u.tenant_id = p_tenant_id and u.day between v_days[v_flat] and v_days[v_flat_to]
        group by u.day
    ), total as (
        select s.bucket, s.session_id, s.participant_id, sum(s.sessions) as sessions, sum(s.participants) as participants,
               sum(s.connections) as connections, sum(s.connected_us) as connected_us, sum(s.covered_us) as covered_us,
               sum(s.billable_us) as billable_us, sum(s.units) as units, sum(s.uncertainty_us) as uncertainty_us,
               bool_or(s.is_open) as is_open
        from summed s group by s.bucket, s.session_id, s.participant_id
        having sum(s.participants) <> 0
    ), adjustment as (
        select a.bucket, case when p_group in ('session', 'participant') then a.session_id end as session_id,
               case when p_group = 'participant' then a.participant_id end as participant_id, sum(a.us) as us
        from rollcall.adjustments_in(p_tenant_id, v_bounds) a
        group by 1, 2, 3
    )
    select p_tenant_id, v_days[t.bucket], t.session_id, t.participant_id, p.identity, t.sessions::bigint,
           t.participants::bigint, t.connections::bigint, t.connected_us / 1000000.0, t.billable_us / 1000000.0,
           (t.connected_us - t.covered_us) / 1000000.0, t.units, t.uncertainty_us / 1000000.0, t.is_open,
           coalesce(a.us, 0) / 1000000, w.complete_through
    from total t
    left join adjustment a on a.bucket = t.bucket and a.session_id is not distinct from t.session_id
        and a.participant_id is not distinct from t.participant_id
    left join rollcall.participants p
        on p_group = 'participant' and p.session_id = t.session_id and p.participant_id = t.participant_id
    cross join rollcall.get_billing_watermark() w
    order by t.bucket, t.session_id, t.participant_id;
end
$$;

comment on function rollcall.get_usage(uuid, timestamptz, timestamptz, text, text, text, interval) is
    'Usage of a tenant in [p_from, p_to) by day (of p_tz), session or participant of a session, or as a whole (tenant; p_tenant_id null: one row for each). billed_units as in get_session_billing_data. p_grace null: the tenant''s.';
