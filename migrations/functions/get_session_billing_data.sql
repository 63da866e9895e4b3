-- The bill of one session, one row per participant. billable_seconds is the union of the participant's spans, with gaps up
-- to the grace closed: two tabs count once. Times of first and last are as they were, not clipped to the period.
drop function if exists rollcall.get_session_billing_data(uuid, timestamptz, timestamptz, text);

create or replace function rollcall.get_session_billing_data(
    p_session_id uuid,
    p_from timestamptz default null,
    p_to timestamptz default null,
    p_rounding text default 'exact',
    p_grace interval default null
) returns table (participant_id uuid, identity text, first_joined_at timestamptz, last_left_at timestamptz,
                 connections bigint, connected_seconds numeric, billable_seconds numeric, overlap_seconds numeric,
                 gap_seconds numeric, billed_units numeric, uncertainty_seconds numeric, is_open boolean,
                 adjustments_seconds numeric, complete_through timestamptz)
    language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off as $$
#variable_conflict use_column
declare
    v_from timestamptz := coalesce(p_from, '-infinity');
    v_to timestamptz := coalesce(p_to, 'infinity');
    v_grace interval;
begin
    perform rollcall.check_arguments(p_rounding => coalesce(p_rounding, 'null'), p_from => p_from, p_to => p_to,
                                     p_grace => p_grace);
    select coalesce(p_grace, t.reconnect_grace) into v_grace
    from rollcall.sessions s join rollcall.tenants t using (tenant_id) where s.session_id = p_session_id;
    if not found then
        raise exception 'unknown session %', coalesce(p_session_id::text, 'null')
            using errcode = 'no_data_found', hint = 'Look it up in rollcall.sessions.';
    end if;
    return query
    with span as materialized (
        select s.participant_id, s.connected_at, s.disconnected_at, s.uncertainty_us,
               coalesce(s.disconnected_at, greatest(s.last_evidence_at, s.connected_at)) as ends_at
        from rollcall.participation_spans s where s.session_id = p_session_id
    ), piece as (
        select s.*, greatest(s.connected_at, v_from) as starts_in, least(s.ends_at, v_to) as ends_in
        from span s
        -- A span without length belongs to the one period in which it lies.
        where s.connected_at < v_to
          and (s.ends_at > v_from or (s.connected_at = s.ends_at and s.connected_at >= v_from))
    ), met as (
        select p.participant_id, min(p.connected_at) as first_joined_at, max(p.disconnected_at) as last_left_at,
               count(*) as connections, bool_or(p.disconnected_at is null and p.ends_at < v_to) as is_open,
               sum(rollcall.us_between(p.starts_in, p.ends_in)) as connected_us,
               sum((rollcall.us_between(p.starts_in, p.ends_in) + 59999999) / 60000000) as connection_minutes,
               -- Time that is missing after the end belongs to the period of the end.
               sum(case when p.ends_at <= v_to then p.uncertainty_us else 0 end) as uncertainty_us
        from piece p group by p.participant_id
    ), whole as (
        select s.participant_id, range_agg(tstzrange(s.connected_at, s.ends_at)) as covered,
               bool_or(s.disconnected_at is null) as is_here
        from span s group by s.participant_id
    ), measured as (
        select m.*, w.is_here, rollcall.coverage_seconds(w.covered * tstzmultirange(tstzrange(v_from, v_to))) as covered_s,
               rollcall.coverage_seconds(b.billable) as billable_s,
               extract(epoch from upper(b.billable) - lower(b.billable)) as stay_s
        from met m
        join whole w using (participant_id),
             lateral (select rollcall.bridge_gaps(w.covered, v_grace) * tstzmultirange(tstzrange(v_from, v_to)) as billable) b
    ), summed as (
        -- Running sums, so that rounding once per session still gives rows that add up to the rounded total; in the order
        -- of get_usage, so that both give the odd minute to the same participant.
        select m.*, sum(m.billable_s) over (order by m.participant_id) as running_s from measured m
    )
    select s.participant_id, p.identity, s.first_joined_at,
           -- Whoever has an open connection has not left, also where the period ends before it.
           case when not s.is_here then s.last_left_at end,
           s.connections, s.connected_us / 1000000.0, s.billable_s, s.connected_us / 1000000.0 - s.covered_s,
           coalesce(s.stay_s, 0) - s.billable_s,
           case p_rounding
               when 'minute_per_session' then ceil(s.running_s / 60) - ceil((s.running_s - s.billable_s) / 60)
               else rollcall.round_usage(p_rounding, s.billable_s * 1000000, s.connection_minutes)
           end,
           s.uncertainty_us / 1000000.0, s.is_open,
           (select coalesce(sum(sign(a.delta_us::numeric) * rollcall.us_between(greatest(a.starts_at, v_from), least(a.ends_at, v_to))), 0)
                       / 1000000
            from rollcall.billing_adjustments a
            where a.session_id = p_session_id and a.participant_id = s.participant_id
              and a.starts_at < v_to and a.ends_at > v_from),
           w.complete_through
    from summed s
    left join rollcall.participants p on p.session_id = p_session_id and p.participant_id = s.participant_id
    cross join rollcall.get_billing_watermark() w
    order by s.first_joined_at, s.participant_id;
end
$$;

comment on function rollcall.get_session_billing_data(uuid, timestamptz, timestamptz, text, interval) is
    'Usage of one session per participant. billed_units are seconds for exact and second, else minutes, always rounded up; last_left_at is null while any connection of the participant in the session is open, whatever the period; adjustments_seconds is what of billable_seconds came to light after its period was closed. p_grace null: the tenant''s.';
