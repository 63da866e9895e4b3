-- Spans against the trail: the length that connection_opened, connection_closed and connection_close_amended tell, against
-- the length that is billed. Spans that are older than the oldest record of their epoch in the trail are left out: their
-- partition was detached. So are ends that the clean-up set, which has one event for the whole session.
drop function if exists rollcall.compare_spans_with_trail(uuid, timestamptz, timestamptz);

create function rollcall.compare_spans_with_trail(p_tenant_id uuid, p_from timestamptz, p_to timestamptz)
    returns table (what text, session_id uuid, participant_id uuid, day date, stored bigint, recomputed bigint,
                   difference bigint)
    language sql stable set search_path = pg_catalog, pg_temp set jit = off as $$
    with span as materialized (
        select s.*, s.epoch || '-' || s.connection as name
        from rollcall.participation_spans s
        where (p_tenant_id is null or s.tenant_id = p_tenant_id)
          and s.connected_at < p_to and s.disconnected_at >= p_from
    ), epoch as (
        select e.epoch, (select a.occurred_at from rollcall.session_audit_log a
                         where a.epoch = e.epoch order by a.seq limit 1) as trail_from
        from (select distinct s.epoch from span s) e
    ), event as (
        select a.connection as name, a.session_id, min(a.occurred_at) filter (where a.event_type = 'connection_opened') as opened_at,
               (array_agg(a.occurred_at order by a.seq) filter (where a.event_type = 'connection_closed'))[1] as closed_at,
               (array_agg(a.metadata ->> 'reason' order by a.seq) filter (where a.event_type = 'connection_closed'))[1] as reason,
               max(a.occurred_at) filter (where a.event_type = 'connection_close_amended') as amended_at
        from rollcall.session_audit_log a
        where a.session_id in (select s.session_id from span s)
          and a.event_type in ('connection_opened', 'connection_closed', 'connection_close_amended')
        group by a.connection, a.session_id
    ), told as (
        select s.session_id, s.participant_id, s.connected_at,
               rollcall.us_between(s.connected_at, s.disconnected_at) as stored,
               coalesce(rollcall.us_between(v.opened_at, greatest(
                   v.opened_at, v.closed_at, case when v.reason = 'node_crash' then v.amended_at end)), 0) as recomputed,
               v.opened_at is distinct from s.connected_at as moved
        from span s
        join epoch e on e.epoch = s.epoch and e.trail_from <= s.connected_at
        left join event v on v.name = s.name and v.session_id = s.session_id
        where not (s.end_reason = 'session_ended'
                   and exists (select from rollcall.session_audit_log c
                               where c.session_id = s.session_id and c.event_type = 'session_ended'
                                 and c.epoch = 0 and c.metadata ->> 'source' = 'cleanup'))
    )
    select 'span', t.session_id, t.participant_id, (t.connected_at at time zone 'UTC')::date, t.stored, t.recomputed,
           t.stored - t.recomputed
    from told t where t.stored <> t.recomputed or t.moved
$$;

comment on function rollcall.compare_spans_with_trail(uuid, timestamptz, timestamptz) is
    'Internal to recompute_billing: spans whose time differs from what the audit trail tells, in microseconds.';
