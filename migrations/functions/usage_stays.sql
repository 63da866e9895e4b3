-- The usage of a tenant cut at p_bounds, without a grace, summed over the sessions that lie within one bucket as a whole. A last
-- row, bucket 0, names the sessions that do not: those that cross a bound, that were there on several days (UTC) and could
-- count twice in a bucket, or that have open connections.
--
-- Each quarter of an hour knows the sums of what began in it (usage_15m); what the others have of these is taken away again. A
-- quarter that a bound cuts is read session by session.
drop function if exists rollcall.usage_stays(uuid, timestamptz[]);

create function rollcall.usage_stays(p_tenant_id uuid, p_bounds timestamptz[])
    returns table (bucket integer, sessions bigint, participants bigint, connections bigint, connected_us bigint,
                   covered_us bigint, uncertainty_us bigint, whole_seconds bigint, connection_minutes bigint,
                   participant_minutes bigint, session_minutes bigint, others uuid[])
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set enable_sort = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_last integer := cardinality(p_bounds) - 1;
    v_from timestamptz := p_bounds[1];
    v_to timestamptz := p_bounds[v_last + 1];
    -- Quarters that a bound cuts.
    v_cut timestamptz[] := array(select distinct date_bin('15 minutes', b, 'epoch') from unnest(p_bounds) as b
                                 where date_bin('15 minutes', b, 'epoch') <> b);
    v_others uuid[];
begin
    if v_last is null or v_last < 1 then
        return;
    end if;
    v_others := array(
        select u.session_id from rollcall.session_usage_day u
        where u.tenant_id = p_tenant_id and u.day > u.first_day and u.participants > 0
          and u.day between (v_from at time zone 'UTC')::date and (v_to at time zone 'UTC')::date
        union
        select c.session_id from rollcall.sessions_during(p_tenant_id, p_bounds, p_bounds) c
        union
        select o.session_id from unnest(rollcall.open_sessions(p_tenant_id, v_from, v_to)) as o (session_id));
    return query
    with quarter as (
        select width_bucket(u.bucket, p_bounds) as bucket, sum(u.begun_sessions) as sessions,
               sum(u.begun_participants) as participants, sum(u.begun_connections) as connections,
               sum(u.begun_connected_us) as connected_us, sum(u.begun_covered_us) as covered_us,
               sum(u.begun_uncertainty_us) as uncertainty_us, sum(u.begun_whole_seconds) as whole_seconds,
               sum(u.begun_connection_minutes) as connection_minutes,
               sum(u.begun_participant_minutes) as participant_minutes, sum(u.begun_session_minutes) as session_minutes
        from rollcall.usage_15m u
        where u.tenant_id = p_tenant_id and u.bucket >= v_from and u.bucket < v_to and u.bucket <> all (v_cut)
        group by 1
    ), single as (
        select 1 as sign, u.*
        from unnest(v_cut) as c (at), generate_series(0, 3) as l (lasting),
             lateral (select o.* from rollcall.session_usage_day o
                      where o.tenant_id = p_tenant_id and o.lasting = l.lasting and o.first_at >= c.at
                        and o.first_at < c.at + interval '15 minutes' and o.participants > 0 offset 0) u
        union all
        select -1, u.*
        from unnest(v_others) as s (session_id),
             lateral (select o.* from rollcall.session_usage_day o
                      where o.session_id = s.session_id and o.participants > 0 offset 0) u
    )
    select x.bucket, sum(x.sessions)::bigint, sum(x.participants)::bigint, sum(x.connections)::bigint,
           sum(x.connected_us)::bigint, sum(x.covered_us)::bigint, sum(x.uncertainty_us)::bigint, sum(x.whole_seconds)::bigint,
           sum(x.connection_minutes)::bigint, sum(x.participant_minutes)::bigint, sum(x.session_minutes)::bigint, null::uuid[]
    from (select q.* from quarter q
          union all
          select width_bucket(s.first_at, p_bounds), sum(s.sign), sum(s.sign * s.participants), sum(s.sign * s.connections),
                 sum(s.sign * s.connected_us), sum(s.sign * s.covered_us), sum(s.sign * s.uncertainty_us),
                 sum(s.sign * s.whole_seconds), sum(s.sign * s.connection_minutes), sum(s.sign * s.participant_minutes),
                 sum(s.sign * ((s.covered_us + 59999999) / 60000000))
          from single s
          where s.first_at >= v_from and s.first_at < v_to
          group by 1) x
    group by x.bucket having sum(x.sessions) <> 0
    union all
    select 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, v_others;
end
$$;

comment on function rollcall.usage_stays(uuid, timestamptz[]) is
    'Internal: usage of the sessions of a tenant that lie within one bucket each; bucket 0 names the others.';
