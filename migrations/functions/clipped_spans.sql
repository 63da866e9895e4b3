-- Spans as the bill sees them: clipped to a period, the open ones counted up to their last evidence. A span without
-- length belongs to the one period in which it lies; it counts as a connection, but its range is empty and has no
-- bounds, so whoever compares takes starts_at and ends_at.

-- "create or replace" cannot change the columns of a result. Nothing but the bodies of other functions refers to it.
drop function if exists rollcall.clipped_spans(uuid, uuid, timestamptz, timestamptz);

create function rollcall.clipped_spans(
    p_tenant_id uuid, p_session_id uuid, p_from timestamptz, p_to timestamptz
) returns table (epoch bigint, connection bigint, session_id uuid, tenant_id uuid, participant_id uuid,
                 connected_at timestamptz, disconnected_at timestamptz, starts_at timestamptz, ends_at timestamptz,
                 covered tstzrange, uncertainty_us bigint, is_open boolean)
    language sql stable set search_path = pg_catalog, pg_temp as $$
    select s.epoch, s.connection, s.session_id, s.tenant_id, s.participant_id, s.connected_at, s.disconnected_at,
           greatest(s.connected_at, p_from), least(e.ends_at, p_to),
           tstzrange(greatest(s.connected_at, p_from), least(e.ends_at, p_to)),
           -- Time that is missing after the end belongs to the period of the end.
           case when e.ends_at <= p_to then s.uncertainty_us else 0 end,
           s.disconnected_at is null and e.ends_at < p_to
    from rollcall.participation_spans s,
         lateral (select coalesce(s.disconnected_at, greatest(s.last_evidence_at, s.connected_at)) as ends_at) e
    where (p_session_id is null or s.session_id = p_session_id)
      and (p_tenant_id is null or s.tenant_id = p_tenant_id)
      and s.connected_at < p_to
      and (e.ends_at > p_from or (s.connected_at = e.ends_at and s.connected_at >= p_from))
$$;

comment on function rollcall.clipped_spans(uuid, uuid, timestamptz, timestamptz) is
    'Internal: the spans of a tenant or session (null: of all) that touch [p_from, p_to), clipped to it.';
