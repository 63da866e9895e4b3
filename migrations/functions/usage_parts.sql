-- The usage of a tenant, participant by participant, cut at p_bounds. Most participants come and go within one bucket:
-- their rows of participant_coverage are taken as they are. The spans are read only for sessions that cross a bound, or a
-- midnight (UTC) inside a bucket, where a connection would count on both sides, or that have open connections.
drop function if exists rollcall.usage_parts(uuid, timestamptz[], interval);

create function rollcall.usage_parts(p_tenant_id uuid, p_bounds timestamptz[], p_grace interval)
    returns table (bucket integer, tenant_id uuid, session_id uuid, participant_id uuid, connections bigint,
                   connected_us bigint, covered_us bigint, billable_us bigint, connection_minutes bigint,
                   uncertainty_us bigint, is_open boolean)
    language sql stable set search_path = pg_catalog, pg_temp set jit = off as $$
    with period (from_at, to_at) as (
        select p_bounds[1], p_bounds[cardinality(p_bounds)] where cardinality(p_bounds) > 1
    ), stay as materialized (
        select c.session_id, c.participant_id, c.connections, c.connected_us, c.covered_us, c.connection_minutes,
               c.uncertainty_us, width_bucket(c.first_at, p_bounds) as bucket,
               width_bucket(greatest(c.first_at, c.last_at - interval '1 microsecond'), p_bounds) as last_bucket,
               (c.first_at = c.day::timestamp at time zone 'UTC' and c.first_at <> all (p_bounds))
                   or (c.last_at = (c.day + 1)::timestamp at time zone 'UTC' and c.last_at <> all (p_bounds)) as goes_on
        from period p, rollcall.participant_coverage c
        where c.tenant_id = p_tenant_id and c.connections > 0
          -- A gap may start or end as much before or after the period as the grace is long.
          and c.day >= ((p.from_at - p_grace) at time zone 'UTC')::date
          and c.day <= ((p.to_at + p_grace) at time zone 'UTC')::date
    ), special as materialized (
        select distinct s.session_id from stay s where p_grace > interval '0' or s.bucket <> s.last_bucket or s.goes_on
        union
        select o.session_id from period p, unnest(rollcall.open_sessions(p_tenant_id, p.from_at - p_grace, p.to_at)) as o (session_id)
    )
    select s.bucket, p_tenant_id, s.session_id, s.participant_id, s.connections, s.connected_us, s.covered_us,
           s.covered_us, s.connection_minutes, s.uncertainty_us, false
    from stay s
    where s.bucket between 1 and cardinality(p_bounds) - 1
      and s.session_id not in (select x.session_id from special x)
    union all
    select u.bucket, u.tenant_id, u.session_id, u.participant_id, u.connections, u.connected_us, u.covered_us, u.billable_us,
           u.connection_minutes, u.uncertainty_us, u.is_open
    from rollcall.usage_pieces(array(select x.session_id from special x), p_bounds, true, p_grace) u
$$;

comment on function rollcall.usage_parts(uuid, timestamptz[], interval) is
    'Internal: usage of a tenant per bucket and participant; a participant may have several rows in a bucket.';
