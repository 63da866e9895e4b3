-- What earlier versions counted less of: fills the sums that apply_span_changes() and
-- apply_session_changes() keep by now. Runs with each upgrade, in its
-- transaction, and does nothing where nothing is missing.
do $$
begin
    -- Rows from before sessions had more than two sums. Nobody counts meanwhile.
    if exists (select from rollcall.session_usage_day u where u.first_at is null) then
        lock table rollcall.session_usage_day in share row exclusive mode;
        update rollcall.session_usage_day u
        set first_at = c.first_at, last_at = c.last_at, connections = c.connections, connected_us = c.connected_us,
            uncertainty_us = c.uncertainty_us, whole_seconds = c.whole_seconds, connection_minutes = c.connection_minutes,
            participant_minutes = c.participant_minutes
        from (select p.session_id, p.day, min(p.first_at) as first_at, max(p.last_at) as last_at,
                     sum(p.connections) as connections, sum(p.connected_us) as connected_us,
                     sum(p.uncertainty_us) as uncertainty_us, sum((p.covered_us + 999999) / 1000000) as whole_seconds,
                     sum(p.connection_minutes) as connection_minutes,
                     sum((p.covered_us + 59999999) / 60000000) as participant_minutes
              from rollcall.participant_coverage p group by p.session_id, p.day) c
        where u.first_at is null and c.session_id = u.session_id and c.day = u.day;
    end if;
    -- Rows from before quarters knew what began in them.
    if exists (select from rollcall.session_usage_day u where u.participants > 0)
       and not exists (select from rollcall.usage_15m u where u.begun_sessions <> 0) then
        lock table rollcall.session_usage_day in share row exclusive mode;
        insert into rollcall.usage_15m as u
            (tenant_id, bucket, shard, covered_us, connected_us, joins, present, begun_sessions, begun_participants,
             begun_connections, begun_connected_us, begun_covered_us, begun_uncertainty_us, begun_whole_seconds,
             begun_connection_minutes, begun_participant_minutes, begun_session_minutes)
        select d.tenant_id, d.bucket,
               coalesce((select min(q.shard) from rollcall.usage_15m q where q.tenant_id = d.tenant_id and q.bucket = d.bucket), -1),
               0, 0, 0, array_fill(0, array[15]), d.sessions, d.participants, d.connections, d.connected_us, d.covered_us,
               d.uncertainty_us, d.whole_seconds, d.connection_minutes, d.participant_minutes, d.session_minutes
        from (select x.tenant_id, date_bin('15 minutes', x.first_at, 'epoch') as bucket, count(*) as sessions,
                     sum(x.participants) as participants, sum(x.connections) as connections,
                     sum(x.connected_us) as connected_us, sum(x.covered_us) as covered_us,
                     sum(x.uncertainty_us) as uncertainty_us, sum(x.whole_seconds) as whole_seconds,
                     sum(x.connection_minutes) as connection_minutes, sum(x.participant_minutes) as participant_minutes,
                     sum((x.covered_us + 59999999) / 60000000) as session_minutes
              from rollcall.session_usage_day x where x.participants > 0 group by 1, 2) d
        order by d.tenant_id, d.bucket
        on conflict (tenant_id, bucket, shard) do update
        set begun_sessions = excluded.begun_sessions,
            begun_participants = excluded.begun_participants,
            begun_connections = excluded.begun_connections,
            begun_connected_us = excluded.begun_connected_us,
            begun_covered_us = excluded.begun_covered_us,
            begun_uncertainty_us = excluded.begun_uncertainty_us,
            begun_whole_seconds = excluded.begun_whole_seconds,
            begun_connection_minutes = excluded.begun_connection_minutes,
            begun_participant_minutes = excluded.begun_participant_minutes,
            begun_session_minutes = excluded.begun_session_minutes;
    end if;
    -- Rows from before it was known who was there in which quarters.
    if exists (select from rollcall.participant_coverage c where c.quarters is null) then
        lock table rollcall.participant_coverage in share row exclusive mode;
        update rollcall.participant_coverage c
        set quarters = coalesce(
            (select range_agg(rollcall.quarters_touched(o.connected_at, o.disconnected_at))
             from rollcall.participation_spans o
             where o.session_id = c.session_id and o.participant_id = c.participant_id
               and o.disconnected_at >= c.day::timestamp at time zone 'UTC')
            * tstzmultirange(tstzrange(c.day::timestamp at time zone 'UTC', (c.day + 1)::timestamp at time zone 'UTC')), '{}');
        update rollcall.session_usage_day u
        set quarters = (select coalesce(range_agg(r), '{}')
                        from (select unnest(c.quarters) as r from rollcall.participant_coverage c
                              where c.session_id = u.session_id and c.day = u.day) x);
        with stretch as materialized (
            select x.*, lag(upper(x.r)) over (partition by x.session_id, x.participant_id order by x.r) - interval '15 minutes' as since
            from (select c.tenant_id, c.session_id, c.participant_id, 0 as sessions, 1 as participants,
                         unnest(range_agg(c.r)) as r
                  from (select o.*, unnest(o.quarters) as r from rollcall.participant_coverage o) c
                  group by c.tenant_id, c.session_id, c.participant_id
                  union all
                  select c.tenant_id, c.session_id, null, 1, 0, unnest(range_agg(c.r))
                  from (select o.*, unnest(o.quarters) as r from rollcall.session_usage_day o) c
                  group by c.tenant_id, c.session_id) x
        ), returned as (
            insert into rollcall.usage_returns (tenant_id, bucket, since, shard, sessions, participants)
            select s.tenant_id, lower(s.r), s.since, -1, sum(s.sessions), sum(s.participants)
            from stretch s where s.since is not null group by s.tenant_id, lower(s.r), s.since
        ), quarter as materialized (
            select x.tenant_id, x.bucket, sum(x.carried) as carried, sum(x.uncertainty_us) as uncertainty_us,
                   sum(x.sessions_new) as sessions_new, sum(x.sessions_carried) as sessions_carried,
                   sum(x.participants_new) as participants_new, sum(x.participants_carried) as participants_carried
            from (select s.tenant_id, lower(s.r) as bucket, 0 as carried, 0 as uncertainty_us, s.sessions as sessions_new,
                         0 as sessions_carried, s.participants as participants_new, 0 as participants_carried
                  from stretch s where s.since is null
                  union all
                  select s.tenant_id, generate_series(lower(s.r) + interval '15 minutes', upper(s.r) - interval '15 minutes',
                                                      interval '15 minutes'),
                         0, 0, 0, s.sessions, 0, s.participants
                  from stretch s
                  union all
                  select o.tenant_id, o.bucket, (o.connected_at < o.bucket)::integer,
                         case when o.disconnected_at <= o.bucket + interval '15 minutes' then o.uncertainty_us else 0 end, 0, 0, 0, 0
                  from (select p.*, generate_series(date_bin('15 minutes', p.connected_at, 'epoch'),
                                                    greatest(p.connected_at, p.disconnected_at - interval '1 microsecond'),
                                                    interval '15 minutes') as bucket
                        from rollcall.participation_spans p where p.disconnected_at is not null) o) x
            group by x.tenant_id, x.bucket
        ), total as (
            insert into rollcall.total_15m as u (bucket, shard, covered_us, joins, participants_new, participants_carried, present)
            select q.bucket, coalesce((select min(t.shard) from rollcall.total_15m t where t.bucket = q.bucket), -1), 0, 0,
                   sum(q.participants_new), sum(q.participants_carried), array_fill(0, array[15])
            from quarter q group by q.bucket order by q.bucket
            on conflict (bucket, shard) do update
            set participants_new = excluded.participants_new, participants_carried = excluded.participants_carried
        )
        insert into rollcall.usage_15m as u
            (tenant_id, bucket, shard, covered_us, connected_us, joins, connections_carried, uncertainty_us, present,
             sessions_new, sessions_carried, participants_new, participants_carried)
        select q.tenant_id, q.bucket,
               coalesce((select min(t.shard) from rollcall.usage_15m t where t.tenant_id = q.tenant_id and t.bucket = q.bucket), -1),
               0, 0, 0, q.carried, q.uncertainty_us, array_fill(0, array[15]), q.sessions_new, q.sessions_carried,
               q.participants_new, q.participants_carried
        from quarter q order by q.tenant_id, q.bucket
        on conflict (tenant_id, bucket, shard) do update
        set connections_carried = excluded.connections_carried, uncertainty_us = excluded.uncertainty_us,
            sessions_new = excluded.sessions_new, sessions_carried = excluded.sessions_carried,
            participants_new = excluded.participants_new, participants_carried = excluded.participants_carried;
    end if;
    -- Histograms from before there were bands.
    if exists (select from rollcall.session_durations_day d where d.sessions > 0)
       and not exists (select from rollcall.session_duration_bands_day d) then
        lock table rollcall.session_durations_day in share row exclusive mode;
        insert into rollcall.session_duration_bands_day (tenant_id, day, band, shard, sessions)
        select d.tenant_id, d.day, d.bin / 8, d.shard, sum(d.sessions) from rollcall.session_durations_day d group by 1, 2, 3, 4;
        insert into rollcall.total_duration_bands_day (day, band, shard, sessions)
        select d.day, d.bin / 8, d.shard, sum(d.sessions) from rollcall.total_durations_day d group by 1, 2, 3;
    end if;
    -- Sessions from before they were counted by quarter of an hour.
    if exists (select from rollcall.total_stats_day d where d.started > 0 or d.timed > 0 or d.no_shows > 0)
       and not exists (select from rollcall.total_stats_15m u) then
        lock table rollcall.sessions in share row exclusive mode;
        insert into rollcall.total_stats_15m
            (bucket, shard, started, completed, idle, max_duration, abandoned, no_shows, timed, duration_us)
        select date_bin('15 minutes', x.at, 'epoch'), -1, count(*) filter (where x.started),
               count(*) filter (where x.end_reason = 'completed'), count(*) filter (where x.end_reason = 'idle'),
               count(*) filter (where x.end_reason = 'max_duration'), count(*) filter (where x.end_reason = 'abandoned'),
               count(*) filter (where not x.started and x.us is null), count(x.us), coalesce(sum(x.us), 0)
        from (select s.started_at as at, true as started, null as end_reason, null::bigint as us
              from rollcall.sessions s where s.started_at is not null
              union all
              select s.ended_at, false, s.end_reason, rollcall.duration_us(s.started_at, s.ended_at)
              from rollcall.sessions s where s.ended_at is not null) x
        group by 1;
        insert into rollcall.total_duration_bands_15m (bucket, band, shard, sessions)
        select date_bin('15 minutes', s.ended_at, 'epoch'), rollcall.duration_bin(rollcall.duration_us(s.started_at, s.ended_at)) / 8,
               -1, count(*)
        from rollcall.sessions s where s.started_at is not null and s.ended_at is not null group by 1, 2;
    end if;
end
$$;
