-- How the sessions of a period went. Whole days (UTC) come out of session_stats_day and the histograms; the rest of a day
-- at either end out of sessions. Percentiles are exact: the histogram says in which bin the wanted session lies and which
-- of the bin it is, and an index finds it there.
--
-- Runs as the owner, because row-level security may not use that index: its expression is not leakproof, so it would be
-- asked only of rows that the policy let through, one by one. Whoever is narrowed to a tenant gets that tenant here too.
drop function if exists rollcall.session_outcomes(uuid, timestamptz, timestamptz);

create function rollcall.session_outcomes(
    p_tenant_id uuid, p_from timestamptz, p_to timestamptz,
    out started bigint, out completed bigint, out idle bigint, out max_duration bigint, out abandoned bigint,
    out no_shows bigint, out timed bigint, out duration_us bigint, out p50_us bigint, out p95_us bigint, out max_us bigint
)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_from timestamptz := date_bin('24 hours', p_from + interval '24 hours' - interval '1 microsecond', 'epoch');
    v_to timestamptz := date_bin('24 hours', p_to, 'epoch');
    v_day date;
    v_day_to date;
    v_tenants uuid[];
begin
    p_tenant_id := coalesce(rollcall.scope_tenant_id(), p_tenant_id);
    -- Tenant by tenant, because that is how the index on times goes.
    v_tenants := case when p_tenant_id is null then array(select t.tenant_id from rollcall.tenants t) else array[p_tenant_id] end;
    if v_from >= v_to then
        -- No whole day.
        v_from := p_to;
        v_to := p_to;
    end if;
    v_day := (v_from at time zone 'UTC')::date;
    v_day_to := case when v_from < v_to then (v_to at time zone 'UTC')::date else v_day end;

    select coalesce(sum(x.started), 0), coalesce(sum(x.completed), 0), coalesce(sum(x.idle), 0),
           coalesce(sum(x.max_duration), 0), coalesce(sum(x.abandoned), 0), coalesce(sum(x.no_shows), 0),
           coalesce(sum(x.timed), 0), coalesce(sum(x.duration_us), 0)
    into started, completed, idle, max_duration, abandoned, no_shows, timed, duration_us
    from (select d.started, d.completed, d.idle, d.max_duration, d.abandoned, d.no_shows, d.timed, d.duration_us
          from rollcall.session_stats_day d
          where p_tenant_id is not null and d.tenant_id = p_tenant_id and d.day >= v_day and d.day < v_day_to
          union all
          select d.started, d.completed, d.idle, d.max_duration, d.abandoned, d.no_shows, d.timed, d.duration_us
          from rollcall.session_stats_day d
          where p_tenant_id is null and d.day >= v_day and d.day < v_day_to
          union all
          select count(*), 0, 0, 0, 0, 0, 0, 0
          from unnest(v_tenants) as t (tenant_id), (values (p_from, v_from), (v_to, p_to)) as e (from_at, to_at),
               lateral (select from rollcall.sessions o
                        where o.tenant_id = t.tenant_id and o.started_at >= e.from_at and o.started_at < e.to_at
                        offset 0) s
          where e.from_at < e.to_at
          union all
          select 0, count(*) filter (where s.end_reason = 'completed'), count(*) filter (where s.end_reason = 'idle'),
                 count(*) filter (where s.end_reason = 'max_duration'), count(*) filter (where s.end_reason = 'abandoned'),
                 count(*) filter (where s.started_at is null), count(s.started_at),
                 sum(rollcall.duration_us(s.started_at, s.ended_at))
          from unnest(v_tenants) as t (tenant_id), (values (p_from, v_from), (v_to, p_to)) as e (from_at, to_at),
               lateral (select o.* from rollcall.sessions o
                        where o.status = 'ended' and o.tenant_id = t.tenant_id
                          and o.ended_at >= e.from_at and o.ended_at < e.to_at offset 0) s
          where e.from_at < e.to_at) x;
    if timed = 0 then
        return;
    end if;

    with wanted (what, rank) as (
        values ('p50', (timed + 1) / 2), ('p95', (timed * 95 + 99) / 100), ('max', timed)
    ), bin as (
        select x.bin, sum(x.sessions) as sessions
        from (select d.bin, d.sessions from rollcall.session_durations_day d
              where p_tenant_id is not null and d.tenant_id = p_tenant_id and d.day >= v_day and d.day < v_day_to
              union all
              select d.bin, d.sessions from rollcall.total_durations_day d
              where p_tenant_id is null and d.day >= v_day and d.day < v_day_to
              union all
              select rollcall.duration_bin(rollcall.duration_us(s.started_at, s.ended_at)), 1
              from unnest(v_tenants) as t (tenant_id), (values (p_from, v_from), (v_to, p_to)) as e (from_at, to_at),
                   lateral (select o.* from rollcall.sessions o
                            where o.status = 'ended' and o.tenant_id = t.tenant_id and o.started_at is not null
                              and o.ended_at >= e.from_at and o.ended_at < e.to_at offset 0) s
              where e.from_at < e.to_at) x
        group by x.bin having sum(x.sessions) <> 0
    ), ranked as (
        select b.bin, sum(b.sessions) over (order by b.bin) - b.sessions as below, b.sessions from bin b
    ), found as (
        select w.what, f.us
        from wanted w
        join ranked r on w.rank > r.below and w.rank <= r.below + r.sessions,
             lateral (select rollcall.duration_us(s.started_at, s.ended_at) as us
                      from rollcall.sessions s
                      where s.status = 'ended' and s.started_at is not null
                        and rollcall.duration_bin(rollcall.duration_us(s.started_at, s.ended_at)) = r.bin
                        and (p_tenant_id is null or s.tenant_id = p_tenant_id)
                        and s.ended_at >= p_from and s.ended_at < p_to
                      order by us offset w.rank - r.below - 1 limit 1) f
    )
    select min(f.us) filter (where f.what = 'p50'), min(f.us) filter (where f.what = 'p95'),
           min(f.us) filter (where f.what = 'max')
    into p50_us, p95_us, max_us from found f;
end
$$;

comment on function rollcall.session_outcomes(uuid, timestamptz, timestamptz) is
    'Internal: sessions of a tenant (null: of all) that started and that ended in [p_from, p_to), by reason, with exact percentiles of their durations.';
