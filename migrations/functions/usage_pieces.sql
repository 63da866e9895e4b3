-- The usage of some sessions from their spans, participant by participant, cut at p_bounds (ascending, bucket n lies
-- between bounds n and n+1). The slow and exact way, for the few sessions that the sums by day do not answer: those that
-- cross a bound, those with open connections, those with a grace.
--
-- covered_us is the union of spans, billable_us the union with gaps up to the grace closed. The grace looks at the whole
-- session before anything is cut, so that the halves of a period add up.
drop function if exists rollcall.usage_pieces(uuid[], timestamptz[], boolean, interval);

create function rollcall.usage_pieces(
    p_sessions uuid[], p_bounds timestamptz[], p_with_open boolean, p_grace interval
) returns table (bucket integer, tenant_id uuid, session_id uuid, participant_id uuid, connections bigint,
                 connected_us bigint, covered_us bigint, billable_us bigint, connection_minutes bigint,
                 uncertainty_us bigint, is_open boolean)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
    return query
    with span as materialized (
        select s.*, width_bucket(s.connected_at, p_bounds) as first_bucket,
               width_bucket(greatest(s.connected_at, s.ends_at - interval '1 microsecond'), p_bounds) as last_bucket
        from (select s.tenant_id, s.session_id, s.participant_id, s.connected_at, s.uncertainty_us,
                     coalesce(s.disconnected_at, greatest(s.last_evidence_at, s.connected_at)) as ends_at,
                     s.disconnected_at is null as is_open
              from rollcall.participation_spans s
              where s.session_id = any (p_sessions) and cardinality(p_bounds) > 1
                and (p_with_open or s.disconnected_at is not null)) s
    ), piece as (
        select s.first_bucket as bucket, s.tenant_id, s.session_id, s.participant_id, s.connected_at as starts_at, s.ends_at,
               s.uncertainty_us, s.is_open and s.ends_at < p_bounds[s.first_bucket + 1] as is_open
        from span s where s.first_bucket = s.last_bucket and s.first_bucket between 1 and cardinality(p_bounds) - 1
        union all
        select s.bucket, s.tenant_id, s.session_id, s.participant_id, greatest(s.connected_at, p_bounds[s.bucket]),
               least(s.ends_at, p_bounds[s.bucket + 1]),
               -- Time that is missing after the end belongs to the bucket of the end.
               case when s.ends_at <= p_bounds[s.bucket + 1] then s.uncertainty_us else 0 end,
               s.is_open and s.ends_at < p_bounds[s.bucket + 1]
        from (select s.*, generate_series(greatest(1, s.first_bucket),
                                          least(cardinality(p_bounds) - 1, s.last_bucket)) as bucket
              from span s where s.first_bucket < s.last_bucket) s
    ), placed as (
        select p.*, rollcall.us_between(p.starts_at, p.ends_at) as us,
               max(p.ends_at) over (partition by p.session_id, p.participant_id, p.bucket
                                    order by p.starts_at rows between unbounded preceding and 1 preceding) as covered_to
        from piece p
    ), summed as (
        -- Of a piece that begins where another was, only what lies behind that one is new.
        select p.bucket, p.tenant_id, p.session_id, p.participant_id, count(*) as connections,
               sum(p.us)::bigint as connected_us,
               sum(case when p.covered_to is null or p.covered_to <= p.starts_at then p.us
                        when p.covered_to < p.ends_at then rollcall.us_between(p.covered_to, p.ends_at)
                        else 0 end)::bigint as covered_us,
               sum((p.us + 59999999) / 60000000)::bigint as connection_minutes,
               sum(p.uncertainty_us)::bigint as uncertainty_us, bool_or(p.is_open) as is_open
        from placed p group by p.session_id, p.participant_id, p.bucket, p.tenant_id
    ), billable as (
        select b.bucket, b.tenant_id, b.session_id, b.participant_id,
               rollcall.us_between(greatest(lower(b.r), p_bounds[b.bucket]), least(upper(b.r), p_bounds[b.bucket + 1])) as us
        from (select g.*, generate_series(
                         greatest(1, width_bucket(lower(g.r), p_bounds)),
                         least(cardinality(p_bounds) - 1, width_bucket(upper(g.r) - interval '1 microsecond', p_bounds)))
                         as bucket
              from (select s.tenant_id, s.session_id, s.participant_id,
                           unnest(rollcall.bridge_gaps(range_agg(tstzrange(s.connected_at, s.ends_at)), p_grace)) as r
                    from span s where p_grace > interval '0'
                    group by s.tenant_id, s.session_id, s.participant_id) g) b
    )
    -- Without a grace all that is covered is billable, and nothing else.
    select s.bucket, s.tenant_id, s.session_id, s.participant_id, s.connections, s.connected_us, s.covered_us, s.covered_us,
           s.connection_minutes, s.uncertainty_us, s.is_open
    from summed s where p_grace = interval '0'
    union all
    select x.bucket, x.tenant_id, x.session_id, x.participant_id, sum(x.connections)::bigint, sum(x.connected_us)::bigint,
           sum(x.covered_us)::bigint, sum(x.billable_us)::bigint, sum(x.connection_minutes)::bigint,
           sum(x.uncertainty_us)::bigint, bool_or(x.is_open)
    from (select s.*, 0 as billable_us from summed s
          union all
          -- A bucket may lie in a bridged gap as a whole.
          select b.bucket, b.tenant_id, b.session_id, b.participant_id, 0, 0, 0, 0, 0, false, b.us from billable b) x
    where p_grace > interval '0'
    group by x.bucket, x.tenant_id, x.session_id, x.participant_id;
end
$$;

comment on function rollcall.usage_pieces(uuid[], timestamptz[], boolean, interval) is
    'Internal: usage of the given sessions from their spans, per bucket and participant.';
