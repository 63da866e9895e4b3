-- The usage of a tenant cut at p_bounds, without a grace, summed over the sessions that lie within one bucket as a whole: their
-- rows of session_usage_day are taken as they are. A last row, bucket 0, names the sessions that do not: those that cross a
-- bound, that were there on several days (UTC) and could count twice in a bucket, or that have open connections.
drop function if exists rollcall.usage_stays(uuid, timestamptz[]);

create function rollcall.usage_stays(p_tenant_id uuid, p_bounds timestamptz[])
    returns table (bucket integer, sessions bigint, participants bigint, connections bigint, connected_us bigint,
                   covered_us bigint, uncertainty_us bigint, whole_seconds bigint, connection_minutes bigint,
                   participant_minutes bigint, session_minutes bigint, others uuid[])
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_last integer := cardinality(p_bounds) - 1;
    v_from timestamptz := p_bounds[1];
    v_to timestamptz := p_bounds[v_last + 1];
begin
    if v_last is null or v_last < 1 then
        return;
    end if;
    return query
    with stay as materialized (
        select width_bucket(u.first_at, p_bounds) as bucket, u.*
        from rollcall.session_usage_day u
        where u.tenant_id = p_tenant_id and u.participants > 0
          and u.day between (v_from at time zone 'UTC')::date and (v_to at time zone 'UTC')::date
    ), other as materialized (
        select s.session_id from stay s
        where s.day > s.first_day
           -- What is over when the period begins is in no bucket, like what begins after it.
           or (s.bucket <= v_last and s.last_at > p_bounds[s.bucket + 1])
           or (s.first_at = s.day::timestamp at time zone 'UTC' and s.first_at <> all (p_bounds))
           or (s.last_at = (s.day + 1)::timestamp at time zone 'UTC' and s.last_at <> all (p_bounds))
        union
        select o.session_id from unnest(rollcall.open_sessions(p_tenant_id, v_from, v_to)) as o (session_id)
    )
    select s.bucket, count(*), sum(s.participants)::bigint, sum(s.connections)::bigint, sum(s.connected_us)::bigint,
           sum(s.covered_us)::bigint, sum(s.uncertainty_us)::bigint, sum(s.whole_seconds)::bigint,
           sum(s.connection_minutes)::bigint, sum(s.participant_minutes)::bigint,
           sum((s.covered_us + 59999999) / 60000000)::bigint, null::uuid[]
    from stay s
    where s.bucket between 1 and v_last and s.session_id not in (select o.session_id from other o)
    group by s.bucket
    union all
    select 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, array(select o.session_id from other o);
end
$$;

comment on function rollcall.usage_stays(uuid, timestamptz[]) is
    'Internal: usage of the sessions of a tenant that lie within one bucket each; bucket 0 names the others.';
