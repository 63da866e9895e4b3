-- Counts everything anew and says where the stored sums differ: usage out of the spans, spans out of the audit trail,
-- statistics out of the sessions. No rows mean that all is right. Looks at the whole days (UTC) that the period touches.
drop function if exists rollcall.recompute_billing(uuid, timestamptz, timestamptz);

create function rollcall.recompute_billing(p_tenant_id uuid, p_from timestamptz, p_to timestamptz)
    returns table (what text, session_id uuid, participant_id uuid, day date, stored bigint, recomputed bigint,
                   difference bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_day date := (p_from at time zone 'UTC')::date;
    v_last_day date := ((p_to - interval '1 microsecond') at time zone 'UTC')::date;
    v_from timestamptz := v_day::timestamp at time zone 'UTC';
    v_to timestamptz := (v_last_day + 1)::timestamp at time zone 'UTC';
begin
    perform rollcall.check_arguments(p_from => p_from, p_to => p_to);
    if p_from is null or p_to is null or not isfinite(p_from) or not isfinite(p_to) then
        raise exception 'recompute_billing needs a finite period'
            using errcode = 'invalid_parameter_value', hint = 'Give p_from and p_to.';
    end if;
    return query
    with span as materialized (
        select s.* from rollcall.participation_spans s
        where (p_tenant_id is null or s.tenant_id = p_tenant_id) and s.disconnected_at is not null
          and s.connected_at < v_to and s.disconnected_at >= v_from
    ), piece as (
        select s.tenant_id, s.session_id, s.participant_id, (d.at at time zone 'UTC')::date as day, s.connected_at < d.at as carried,
               greatest(s.connected_at, d.at) as starts_at, least(s.disconnected_at, d.at + interval '24 hours') as ends_at,
               case when s.disconnected_at <= d.at + interval '24 hours' then s.uncertainty_us else 0 end as uncertainty_us
        from span s,
             lateral generate_series(greatest(v_from, date_bin('24 hours', s.connected_at, 'epoch')),
                                     least(v_to - interval '1 microsecond',
                                           greatest(s.connected_at, s.disconnected_at - interval '1 microsecond')),
                                     interval '24 hours') as d (at)
    ), person as materialized (
        select p.tenant_id, p.session_id, p.participant_id, p.day, count(*) as connections,
               count(*) filter (where p.carried) as carried, sum(rollcall.us_between(p.starts_at, p.ends_at)) as connected_us,
               sum((rollcall.us_between(p.starts_at, p.ends_at) + 59999999) / 60000000) as connection_minutes,
               sum(p.uncertainty_us) as uncertainty_us,
               (rollcall.coverage_seconds(range_agg(tstzrange(p.starts_at, p.ends_at))) * 1000000)::bigint as covered_us
        from piece p group by p.tenant_id, p.session_id, p.participant_id, p.day
    ), meeting as materialized (
        select p.tenant_id, p.session_id, p.day, count(*) as participants, sum(p.covered_us) as covered_us,
               sum(p.connections) as connections, sum(p.connected_us) as connected_us,
               sum(p.uncertainty_us) as uncertainty_us, sum((p.covered_us + 999999) / 1000000) as whole_seconds,
               sum(p.connection_minutes) as connection_minutes,
               sum((p.covered_us + 59999999) / 60000000) as participant_minutes
        from person p group by p.tenant_id, p.session_id, p.day
    ), touched as (
        -- Which quarters of an hour spans touch: of whoever was there on these days, all of them.
        select s.tenant_id, s.session_id, s.participant_id,
               rollcall.quarters_touched(s.connected_at, s.disconnected_at) as quarters
        from (select distinct x.session_id from span x) m join rollcall.participation_spans s using (session_id)
        where s.disconnected_at is not null
    ), stretch as materialized (
        select x.*, lag(upper(x.r)) over (partition by x.session_id, x.participant_id order by x.r) is not null as is_return
        from (select m.tenant_id, m.session_id, m.participant_id, 'participants' as who, unnest(range_agg(m.quarters)) as r
              from touched m group by m.tenant_id, m.session_id, m.participant_id
              union all
              select m.tenant_id, m.session_id, null, 'sessions', unnest(range_agg(m.quarters))
              from touched m group by m.tenant_id, m.session_id) x
    ), seen as materialized (
        select x.tenant_id, x.session_id, x.participant_id, x.who, x.how, (x.at at time zone 'UTC')::date as day, count(*) as quarters
        from (select s.*, case when s.is_return then 'returned' else 'new' end as how, lower(s.r) as at from stretch s
              union all
              select s.*, 'carried', generate_series(lower(s.r) + interval '15 minutes', upper(s.r) - interval '15 minutes',
                                                     interval '15 minutes')
              from stretch s) x
        where x.at >= v_from and x.at < v_to
        group by 1, 2, 3, 4, 5, 6
    ), turn as materialized (
        -- Starts and ends of sessions.
        select x.*, (x.at at time zone 'UTC')::date as day, floor(date_part('epoch', x.at) / 900)::bigint % 96 as quarter
        from (select s.tenant_id, s.started_at as at, null as end_reason, null::bigint as us
              from rollcall.sessions s
              where (p_tenant_id is null or s.tenant_id = p_tenant_id) and s.started_at >= v_from and s.started_at < v_to
              union all
              select s.tenant_id, s.ended_at, s.end_reason, coalesce(rollcall.duration_us(s.started_at, s.ended_at), -1)
              from rollcall.sessions s
              where (p_tenant_id is null or s.tenant_id = p_tenant_id) and s.ended_at >= v_from and s.ended_at < v_to) x
    ), outcome as materialized (
        select v.what, s.tenant_id, s.day, sum(v.n) as n
        from turn s,
             lateral (values ('session_stats_day.started', (s.end_reason is null)::integer::numeric),
                             ('session_stats_day.completed', coalesce(s.end_reason = 'completed', false)::integer),
                             ('session_stats_day.idle', coalesce(s.end_reason = 'idle', false)::integer),
                             ('session_stats_day.max_duration', coalesce(s.end_reason = 'max_duration', false)::integer),
                             ('session_stats_day.abandoned', coalesce(s.end_reason = 'abandoned', false)::integer),
                             ('session_stats_day.no_shows', coalesce(s.us < 0, false)::integer),
                             ('session_stats_day.timed', coalesce(s.us >= 0, false)::integer),
                             ('session_stats_day.duration_us', coalesce(greatest(s.us, 0), 0)),
                             ('session_durations_day.sessions', coalesce(s.us >= 0, false)::integer),
                             ('session_durations_day.bin', case when s.us >= 0 then rollcall.duration_bin(s.us) else 0 end),
                             ('session_duration_bands_day.sessions', coalesce(s.us >= 0, false)::integer),
                             ('session_duration_bands_day.band', case when s.us >= 0 then rollcall.duration_bin(s.us) / 8 else 0 end))
                 as v (what, n)
        group by v.what, s.tenant_id, s.day
    ), recomputed (what, tenant_id, session_id, participant_id, day, n) as (
        select v.what, p.tenant_id, p.session_id, p.participant_id, p.day, v.n
        from person p,
             lateral (values ('participant_coverage.connections', p.connections::numeric),
                             ('participant_coverage.connected_us', p.connected_us),
                             ('participant_coverage.covered_us', p.covered_us),
                             ('participant_coverage.connection_minutes', p.connection_minutes),
                             ('participant_coverage.uncertainty_us', p.uncertainty_us)) as v (what, n)
        union all
        select v.what, m.tenant_id, m.session_id, null, m.day, v.n
        from meeting m,
             lateral (values ('session_usage_day.participants', m.participants::numeric),
                             ('session_usage_day.covered_us', m.covered_us),
                             ('session_usage_day.connections', m.connections),
                             ('session_usage_day.connected_us', m.connected_us),
                             ('session_usage_day.uncertainty_us', m.uncertainty_us),
                             ('session_usage_day.whole_seconds', m.whole_seconds),
                             ('session_usage_day.connection_minutes', m.connection_minutes),
                             ('session_usage_day.participant_minutes', m.participant_minutes)) as v (what, n)
        union all
        select v.what, d.tenant_id, null, null, d.day, v.n
        from (select p.tenant_id, p.day, count(*) as participants, sum(p.connections) as connections,
                     sum(p.carried) as carried, sum(p.connected_us) as connected_us, sum(p.covered_us) as covered_us,
                     sum(p.uncertainty_us) as uncertainty_us, sum((p.covered_us + 999999) / 1000000) as whole_seconds,
                     sum(p.connection_minutes) as connection_minutes,
                     sum((p.covered_us + 59999999) / 60000000) as participant_minutes
              from person p group by p.tenant_id, p.day) d,
             lateral (values ('usage_day.participants', d.participants::numeric), ('usage_day.connections', d.connections),
                             ('usage_day.connections_carried', d.carried), ('usage_day.connected_us', d.connected_us),
                             ('usage_day.covered_us', d.covered_us), ('usage_day.uncertainty_us', d.uncertainty_us),
                             ('usage_day.whole_seconds', d.whole_seconds),
                             ('usage_day.connection_minutes', d.connection_minutes),
                             ('usage_day.participant_minutes', d.participant_minutes),
                             ('usage_15m.joins', d.connections - d.carried), ('usage_15m.uncertainty_us', d.uncertainty_us),
                             ('usage_15m.begun_participants', d.participants), ('usage_15m.begun_connections', d.connections),
                             ('usage_15m.begun_connected_us', d.connected_us), ('usage_15m.begun_covered_us', d.covered_us),
                             ('usage_15m.begun_uncertainty_us', d.uncertainty_us),
                             ('usage_15m.begun_whole_seconds', d.whole_seconds),
                             ('usage_15m.begun_connection_minutes', d.connection_minutes),
                             ('usage_15m.begun_participant_minutes', d.participant_minutes)) as v (what, n)
        union all
        select v.what, d.tenant_id, null, null, d.day, v.n
        from (select m.tenant_id, m.day, count(*) as sessions,
                     sum(div(m.covered_us + 59999999, 60000000)) as session_minutes
              from meeting m group by m.tenant_id, m.day) d,
             lateral (values ('usage_day.sessions', d.sessions::numeric), ('usage_day.session_minutes', d.session_minutes),
                             ('usage_15m.begun_sessions', d.sessions::numeric),
                             ('usage_15m.begun_session_minutes', d.session_minutes)) as v (what, n)
        union all
        select v.what, p.tenant_id, null, null, p.day, v.n
        from (select p.tenant_id, p.day, sum(p.covered_us) as covered_us, sum(p.connected_us) as connected_us
              from person p group by p.tenant_id, p.day) p,
             lateral (values ('usage_15m.covered_us', p.covered_us), ('usage_15m.connected_us', p.connected_us)) as v (what, n)
        union all
        select 'usage_15m.connections_carried', s.tenant_id, null, null, (s.at at time zone 'UTC')::date, count(*)
        from (select x.*, generate_series(date_bin('15 minutes', x.connected_at, 'epoch') + interval '15 minutes',
                                          x.disconnected_at - interval '1 microsecond', interval '15 minutes') as at
              from span x) s
        where s.at >= v_from and s.at < v_to
        group by s.tenant_id, (s.at at time zone 'UTC')::date
        union all
        select case s.how when 'returned' then 'usage_returns.' || s.who else 'usage_15m.' || s.who || '_' || s.how end,
               s.tenant_id, null, null, s.day, sum(s.quarters)
        from seen s group by s.who, s.how, s.tenant_id, s.day
        union all
        select 'total_15m.participants_' || s.how, null, null, null, s.day, sum(s.quarters)
        from seen s where p_tenant_id is null and s.who = 'participants' and s.how <> 'returned' group by s.how, s.day
        union all
        select case s.who when 'participants' then 'participant_coverage.quarters' else 'session_usage_day.quarters' end,
               s.tenant_id, s.session_id, s.participant_id, s.day, sum(s.quarters)
        from seen s group by s.who, s.tenant_id, s.session_id, s.participant_id, s.day
        union all
        select 'total_15m.covered_us', null, null, null, p.day, sum(p.covered_us)
        from person p where p_tenant_id is null group by p.day
        union all
        select o.what, o.tenant_id, null, null, o.day, o.n from outcome o
        union all
        select replace(o.what, 'session_', 'total_'), null, null, null, o.day, sum(o.n)
        from outcome o
        where p_tenant_id is null
          and o.what in ('session_stats_day.started', 'session_stats_day.timed', 'session_stats_day.duration_us',
                         'session_durations_day.sessions', 'session_durations_day.bin',
                         'session_duration_bands_day.sessions', 'session_duration_bands_day.band')
        group by o.what, o.day
        union all
        -- Of quarters also the sum of their numbers in the day, which differs where one is in another quarter.
        select v.what, null, null, null, s.day, sum(v.n)
        from turn s,
             lateral (values ('total_stats_15m.started', (s.end_reason is null)::integer::numeric),
                             ('total_stats_15m.timed', coalesce(s.us >= 0, false)::integer),
                             ('total_stats_15m.duration_us', coalesce(greatest(s.us, 0), 0)),
                             ('total_stats_15m.quarter', s.quarter),
                             ('total_duration_bands_15m.sessions', coalesce(s.us >= 0, false)::integer),
                             ('total_duration_bands_15m.band', case when s.us >= 0 then rollcall.duration_bin(s.us) / 8 else 0 end),
                             ('total_duration_bands_15m.quarter', case when s.us >= 0 then s.quarter else 0 end)) as v (what, n)
        where p_tenant_id is null
        group by v.what, s.day
    ), stored (what, tenant_id, session_id, participant_id, day, n) as (
        select v.what, c.tenant_id, c.session_id, c.participant_id, c.day, v.n
        from rollcall.participant_coverage c,
             lateral (values ('participant_coverage.connections', c.connections),
                             ('participant_coverage.connected_us', c.connected_us),
                             ('participant_coverage.covered_us', c.covered_us),
                             ('participant_coverage.connection_minutes', c.connection_minutes),
                             ('participant_coverage.uncertainty_us', c.uncertainty_us),
                             ('participant_coverage.quarters',
                              (select sum(rollcall.us_between(lower(r), upper(r))) / 900000000 from unnest(c.quarters) as r)))
                 as v (what, n)
        where (p_tenant_id is null or c.tenant_id = p_tenant_id) and c.day between v_day and v_last_day
        union all
        select v.what, u.tenant_id, u.session_id, null, u.day, v.n
        from rollcall.session_usage_day u,
             lateral (values ('session_usage_day.participants', u.participants),
                             ('session_usage_day.covered_us', u.covered_us),
                             ('session_usage_day.connections', u.connections),
                             ('session_usage_day.connected_us', u.connected_us),
                             ('session_usage_day.uncertainty_us', u.uncertainty_us),
                             ('session_usage_day.whole_seconds', u.whole_seconds),
                             ('session_usage_day.connection_minutes', u.connection_minutes),
                             ('session_usage_day.participant_minutes', u.participant_minutes),
                             ('session_usage_day.quarters',
                              (select sum(rollcall.us_between(lower(r), upper(r))) / 900000000 from unnest(u.quarters) as r)))
                 as v (what, n)
        where (p_tenant_id is null or u.tenant_id = p_tenant_id) and u.day between v_day and v_last_day
        union all
        select v.what, u.tenant_id, null, null, u.day, sum(v.n)
        from rollcall.usage_day u,
             lateral (values ('usage_day.sessions', u.sessions), ('usage_day.participants', u.participants),
                             ('usage_day.connections', u.connections), ('usage_day.connections_carried', u.connections_carried),
                             ('usage_day.connected_us', u.connected_us), ('usage_day.covered_us', u.covered_us),
                             ('usage_day.uncertainty_us', u.uncertainty_us), ('usage_day.whole_seconds', u.whole_seconds),
                             ('usage_day.connection_minutes', u.connection_minutes),
                             ('usage_day.participant_minutes', u.participant_minutes),
                             ('usage_day.session_minutes', u.session_minutes)) as v (what, n)
        where (p_tenant_id is null or u.tenant_id = p_tenant_id) and u.day between v_day and v_last_day
        group by v.what, u.tenant_id, u.day
        union all
        select v.what, u.tenant_id, null, null, (u.bucket at time zone 'UTC')::date, sum(v.n)
        from rollcall.usage_15m u,
             lateral (values ('usage_15m.covered_us', u.covered_us), ('usage_15m.connected_us', u.connected_us),
                             ('usage_15m.joins', u.joins), ('usage_15m.connections_carried', u.connections_carried),
                             ('usage_15m.uncertainty_us', u.uncertainty_us), ('usage_15m.sessions_new', u.sessions_new),
                             ('usage_15m.sessions_carried', u.sessions_carried),
                             ('usage_15m.participants_new', u.participants_new),
                             ('usage_15m.participants_carried', u.participants_carried),
                             ('usage_15m.begun_sessions', u.begun_sessions),
                             ('usage_15m.begun_participants', u.begun_participants),
                             ('usage_15m.begun_connections', u.begun_connections),
                             ('usage_15m.begun_connected_us', u.begun_connected_us),
                             ('usage_15m.begun_covered_us', u.begun_covered_us),
                             ('usage_15m.begun_uncertainty_us', u.begun_uncertainty_us),
                             ('usage_15m.begun_whole_seconds', u.begun_whole_seconds),
                             ('usage_15m.begun_connection_minutes', u.begun_connection_minutes),
                             ('usage_15m.begun_participant_minutes', u.begun_participant_minutes),
                             ('usage_15m.begun_session_minutes', u.begun_session_minutes)) as v (what, n)
        where (p_tenant_id is null or u.tenant_id = p_tenant_id) and u.bucket >= v_from and u.bucket < v_to
        group by v.what, u.tenant_id, (u.bucket at time zone 'UTC')::date
        union all
        select v.what, r.tenant_id, null, null, (r.bucket at time zone 'UTC')::date, sum(v.n)
        from rollcall.usage_returns r,
             lateral (values ('usage_returns.sessions', r.sessions), ('usage_returns.participants', r.participants)) as v (what, n)
        where (p_tenant_id is null or r.tenant_id = p_tenant_id) and r.bucket >= v_from and r.bucket < v_to
        group by v.what, r.tenant_id, (r.bucket at time zone 'UTC')::date
        union all
        select v.what, null, null, null, (u.bucket at time zone 'UTC')::date, sum(v.n)
        from rollcall.total_15m u,
             lateral (values ('total_15m.covered_us', u.covered_us), ('total_15m.participants_new', u.participants_new),
                             ('total_15m.participants_carried', u.participants_carried)) as v (what, n)
        where p_tenant_id is null and u.bucket >= v_from and u.bucket < v_to
        group by v.what, (u.bucket at time zone 'UTC')::date
        union all
        select v.what, d.tenant_id, null, null, d.day, sum(v.n)
        from rollcall.session_stats_day d,
             lateral (values ('session_stats_day.started', d.started), ('session_stats_day.completed', d.completed),
                             ('session_stats_day.idle', d.idle), ('session_stats_day.max_duration', d.max_duration),
                             ('session_stats_day.abandoned', d.abandoned), ('session_stats_day.no_shows', d.no_shows),
                             ('session_stats_day.timed', d.timed), ('session_stats_day.duration_us', d.duration_us)) as v (what, n)
        where (p_tenant_id is null or d.tenant_id = p_tenant_id) and d.day between v_day and v_last_day
        group by v.what, d.tenant_id, d.day
        union all
        select v.what, null, null, null, d.day, sum(v.n)
        from rollcall.total_stats_day d,
             lateral (values ('total_stats_day.started', d.started), ('total_stats_day.timed', d.timed),
                             ('total_stats_day.duration_us', d.duration_us)) as v (what, n)
        where p_tenant_id is null and d.day between v_day and v_last_day
        group by v.what, d.day
        union all
        select v.what, null, null, null, u.day, sum(v.n)
        from (select o.*, (o.bucket at time zone 'UTC')::date as day, floor(date_part('epoch', o.bucket) / 900)::bigint % 96 as quarter
              from rollcall.total_stats_15m o) u,
             lateral (values ('total_stats_15m.started', u.started), ('total_stats_15m.timed', u.timed),
                             ('total_stats_15m.duration_us', u.duration_us),
                             ('total_stats_15m.quarter',
                              u.quarter * (u.started + u.completed + u.idle + u.max_duration + u.abandoned))) as v (what, n)
        where p_tenant_id is null and u.bucket >= v_from and u.bucket < v_to
        group by v.what, u.day
        union all
        select v.what, null, null, null, u.day, sum(v.n)
        from (select o.*, (o.bucket at time zone 'UTC')::date as day, floor(date_part('epoch', o.bucket) / 900)::bigint % 96 as quarter
              from rollcall.total_duration_bands_15m o) u,
             lateral (values ('total_duration_bands_15m.sessions', u.sessions),
                             ('total_duration_bands_15m.band', u.sessions * u.band),
                             ('total_duration_bands_15m.quarter', u.sessions * u.quarter)) as v (what, n)
        where p_tenant_id is null and u.bucket >= v_from and u.bucket < v_to
        group by v.what, u.day
        union all
        -- Of histograms how many there are, and the sum of their bins, which differs where one is in another bin.
        select v.what, h.tenant_id, null, null, h.day, sum(v.n)
        from (select 'session_durations_day' as histogram, 'bin' as part, d.tenant_id, d.day, d.bin, d.sessions
              from rollcall.session_durations_day d
              union all
              select 'session_duration_bands_day', 'band', d.tenant_id, d.day, d.band, d.sessions
              from rollcall.session_duration_bands_day d
              union all
              select 'total_durations_day', 'bin', null, d.day, d.bin, d.sessions
              from rollcall.total_durations_day d where p_tenant_id is null
              union all
              select 'total_duration_bands_day', 'band', null, d.day, d.band, d.sessions
              from rollcall.total_duration_bands_day d where p_tenant_id is null) h,
             lateral (values (h.histogram || '.sessions', h.sessions),
                             (h.histogram || '.' || h.part, h.sessions * h.bin)) as v (what, n)
        where (p_tenant_id is null or h.tenant_id = p_tenant_id) and h.day between v_day and v_last_day
        group by v.what, h.tenant_id, h.day
    ), compared as (
        select x.what, x.session_id, x.participant_id, x.day, sum(x.stored) as stored, sum(x.recomputed) as recomputed
        from (select s.what, s.tenant_id, s.session_id, s.participant_id, s.day, s.n as stored, 0 as recomputed from stored s
              union all
              select r.what, r.tenant_id, r.session_id, r.participant_id, r.day, 0, r.n from recomputed r) x
        group by x.what, x.tenant_id, x.session_id, x.participant_id, x.day
        having coalesce(sum(x.stored), 0) <> sum(x.recomputed)
    )
    select c.what, c.session_id, c.participant_id, c.day, c.stored::bigint, c.recomputed::bigint,
           (c.stored - c.recomputed)::bigint
    from compared c
    union all
    select * from rollcall.compare_spans_with_trail(p_tenant_id, v_from, v_to)
    order by 1, 4, 2, 3;
end
$$;

comment on function rollcall.recompute_billing(uuid, timestamptz, timestamptz) is
    'Recomputes usage and statistics of a tenant (null: of all) for the days of [p_from, p_to) from spans, sessions and audit trail; returns only what differs, in microseconds or counts.';
