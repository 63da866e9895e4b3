-- Adds to the statistics of sessions what came and takes away what went. Rows are written in order of their keys.
create or replace function rollcall.apply_session_changes(p_changes rollcall.session_change[], p_shard bigint) returns void
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    insert into rollcall.session_stats_day as d
        (tenant_id, day, shard, started, completed, idle, max_duration, abandoned, no_shows, timed, duration_us)
    select x.tenant_id, (x.at at time zone 'UTC')::date, p_shard,
           coalesce(sum(x.sign) filter (where x.started), 0),
           coalesce(sum(x.sign) filter (where not x.started and x.end_reason = 'completed'), 0),
           coalesce(sum(x.sign) filter (where not x.started and x.end_reason = 'idle'), 0),
           coalesce(sum(x.sign) filter (where not x.started and x.end_reason = 'max_duration'), 0),
           coalesce(sum(x.sign) filter (where not x.started and x.end_reason = 'abandoned'), 0),
           coalesce(sum(x.sign) filter (where not x.started and x.us is null), 0),
           coalesce(sum(x.sign) filter (where not x.started and x.us is not null), 0),
           coalesce(sum(x.sign * x.us) filter (where not x.started), 0)
    from (select c.tenant_id, c.sign, true as started, c.started_at as at, null as end_reason, null::bigint as us
          from unnest(p_changes) c where c.started_at is not null
          union all
          select c.tenant_id, c.sign, false, c.ended_at, c.end_reason, rollcall.duration_us(c.started_at, c.ended_at)
          from unnest(p_changes) c where c.ended_at is not null) x
    group by 1, 2
    order by 1, 2
    on conflict (tenant_id, day, shard) do update
    set started = d.started + excluded.started,
        completed = d.completed + excluded.completed,
        idle = d.idle + excluded.idle,
        max_duration = d.max_duration + excluded.max_duration,
        abandoned = d.abandoned + excluded.abandoned,
        no_shows = d.no_shows + excluded.no_shows,
        timed = d.timed + excluded.timed,
        duration_us = d.duration_us + excluded.duration_us;

    insert into rollcall.session_durations_day as d (tenant_id, day, bin, shard, sessions)
    select c.tenant_id, (c.ended_at at time zone 'UTC')::date,
           rollcall.duration_bin(rollcall.duration_us(c.started_at, c.ended_at)), p_shard, sum(c.sign)
    from unnest(p_changes) c
    where c.started_at is not null and c.ended_at is not null
    group by 1, 2, 3
    order by 1, 2, 3
    on conflict (tenant_id, day, bin, shard) do update set sessions = d.sessions + excluded.sessions;

    insert into rollcall.total_durations_day as d (day, bin, shard, sessions)
    select (c.ended_at at time zone 'UTC')::date,
           rollcall.duration_bin(rollcall.duration_us(c.started_at, c.ended_at)), p_shard, sum(c.sign)
    from unnest(p_changes) c
    where c.started_at is not null and c.ended_at is not null
    group by 1, 2
    order by 1, 2
    on conflict (day, bin, shard) do update set sessions = d.sessions + excluded.sessions;
end
$$;

comment on function rollcall.apply_session_changes(rollcall.session_change[], bigint) is
    'Internal: brings sessions that started, ended or were taken back into the statistics.';
