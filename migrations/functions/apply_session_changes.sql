-- Adds to the statistics of sessions what came and takes away what went. Rows are written in order of their keys.
create or replace function rollcall.apply_session_changes(p_changes rollcall.session_change[], p_shard bigint) returns void
    language plpgsql volatile set search_path = pg_catalog, pg_temp set jit = off as $$
begin
    with quarter as materialized (
        select x.tenant_id, date_bin('15 minutes', x.at, 'epoch') as bucket,
               coalesce(sum(x.sign) filter (where x.started), 0) as started,
               coalesce(sum(x.sign) filter (where not x.started and x.end_reason = 'completed'), 0) as completed,
               coalesce(sum(x.sign) filter (where not x.started and x.end_reason = 'idle'), 0) as idle,
               coalesce(sum(x.sign) filter (where not x.started and x.end_reason = 'max_duration'), 0) as max_duration,
               coalesce(sum(x.sign) filter (where not x.started and x.end_reason = 'abandoned'), 0) as abandoned,
               coalesce(sum(x.sign) filter (where not x.started and x.us is null), 0) as no_shows,
               coalesce(sum(x.sign) filter (where not x.started and x.us is not null), 0) as timed,
               coalesce(sum(x.sign * x.us) filter (where not x.started), 0) as duration_us
        from (select c.tenant_id, c.sign, true as started, c.started_at as at, null as end_reason, null::bigint as us
              from unnest(p_changes) c where c.started_at is not null
              union all
              select c.tenant_id, c.sign, false, c.ended_at, c.end_reason, rollcall.duration_us(c.started_at, c.ended_at)
              from unnest(p_changes) c where c.ended_at is not null) x
        group by 1, 2
    ), counted as materialized (
        select q.tenant_id, (q.bucket at time zone 'UTC')::date as day, sum(q.started) as started, sum(q.completed) as completed,
               sum(q.idle) as idle, sum(q.max_duration) as max_duration, sum(q.abandoned) as abandoned,
               sum(q.no_shows) as no_shows, sum(q.timed) as timed, sum(q.duration_us) as duration_us
        from quarter q group by 1, 2
    ), count_quarters as (
        insert into rollcall.total_stats_15m as u
            (bucket, shard, started, completed, idle, max_duration, abandoned, no_shows, timed, duration_us)
        select q.bucket, p_shard, sum(q.started), sum(q.completed), sum(q.idle), sum(q.max_duration), sum(q.abandoned),
               sum(q.no_shows), sum(q.timed), sum(q.duration_us)
        from quarter q group by q.bucket order by q.bucket
        on conflict (bucket, shard) do update
        set started = u.started + excluded.started,
            completed = u.completed + excluded.completed,
            idle = u.idle + excluded.idle,
            max_duration = u.max_duration + excluded.max_duration,
            abandoned = u.abandoned + excluded.abandoned,
            no_shows = u.no_shows + excluded.no_shows,
            timed = u.timed + excluded.timed,
            duration_us = u.duration_us + excluded.duration_us
    ), count_tenants as (
        insert into rollcall.session_stats_day as d
            (tenant_id, day, shard, started, completed, idle, max_duration, abandoned, no_shows, timed, duration_us)
        select c.tenant_id, c.day, p_shard, c.started, c.completed, c.idle, c.max_duration, c.abandoned, c.no_shows, c.timed,
               c.duration_us
        from counted c order by c.tenant_id, c.day
        on conflict (tenant_id, day, shard) do update
        set started = d.started + excluded.started,
            completed = d.completed + excluded.completed,
            idle = d.idle + excluded.idle,
            max_duration = d.max_duration + excluded.max_duration,
            abandoned = d.abandoned + excluded.abandoned,
            no_shows = d.no_shows + excluded.no_shows,
            timed = d.timed + excluded.timed,
            duration_us = d.duration_us + excluded.duration_us
    )
    insert into rollcall.total_stats_day as d
        (day, shard, started, completed, idle, max_duration, abandoned, no_shows, timed, duration_us)
    select c.day, p_shard, sum(c.started), sum(c.completed), sum(c.idle), sum(c.max_duration), sum(c.abandoned), sum(c.no_shows),
           sum(c.timed), sum(c.duration_us)
    from counted c group by c.day order by c.day
    on conflict (day, shard) do update
    set started = d.started + excluded.started,
        completed = d.completed + excluded.completed,
        idle = d.idle + excluded.idle,
        max_duration = d.max_duration + excluded.max_duration,
        abandoned = d.abandoned + excluded.abandoned,
        no_shows = d.no_shows + excluded.no_shows,
        timed = d.timed + excluded.timed,
        duration_us = d.duration_us + excluded.duration_us;

    if not exists (select from unnest(p_changes) c where c.started_at is not null and c.ended_at is not null) then
        return;
    end if;
    with ended as materialized (
        select c.tenant_id, date_bin('15 minutes', c.ended_at, 'epoch') as bucket,
               rollcall.duration_bin(rollcall.duration_us(c.started_at, c.ended_at)) as bin, c.sign
        from unnest(p_changes) c
        where c.started_at is not null and c.ended_at is not null
    ), counted as materialized (
        select e.tenant_id, (e.bucket at time zone 'UTC')::date as day, e.bin, sum(e.sign) as sessions from ended e group by 1, 2, 3
    ), count_quarters as (
        insert into rollcall.total_duration_bands_15m as u (bucket, band, shard, sessions)
        select e.bucket, e.bin / 8, p_shard, sum(e.sign) from ended e group by 1, 2 order by 1, 2
        on conflict (bucket, band, shard) do update set sessions = u.sessions + excluded.sessions
    ), count_tenants as (
        insert into rollcall.session_durations_day as d (tenant_id, day, bin, shard, sessions)
        select c.tenant_id, c.day, c.bin, p_shard, c.sessions from counted c order by c.tenant_id, c.day, c.bin
        on conflict (tenant_id, day, bin, shard) do update set sessions = d.sessions + excluded.sessions
    ), count_bands as (
        insert into rollcall.session_duration_bands_day as d (tenant_id, day, band, shard, sessions)
        select c.tenant_id, c.day, c.bin / 8, p_shard, sum(c.sessions) from counted c group by 1, 2, 3 order by 1, 2, 3
        on conflict (tenant_id, day, band, shard) do update set sessions = d.sessions + excluded.sessions
    ), count_all as (
        insert into rollcall.total_durations_day as d (day, bin, shard, sessions)
        select c.day, c.bin, p_shard, sum(c.sessions) from counted c group by c.day, c.bin order by c.day, c.bin
        on conflict (day, bin, shard) do update set sessions = d.sessions + excluded.sessions
    )
    insert into rollcall.total_duration_bands_day as d (day, band, shard, sessions)
    select c.day, c.bin / 8, p_shard, sum(c.sessions) from counted c group by 1, 2 order by 1, 2
    on conflict (day, band, shard) do update set sessions = d.sessions + excluded.sessions;
end
$$;

comment on function rollcall.apply_session_changes(rollcall.session_change[], bigint) is
    'Internal: brings sessions that started, ended or were taken back into the statistics.';
