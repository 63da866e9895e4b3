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
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
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
    with span as (
        select s.*, greatest(s.connected_at, v_from) as starts_in, least(s.ends_at, v_to) as ends_in,
               -- A span without length belongs to the one period in which it lies.
               s.connected_at < v_to
                   and (s.ends_at > v_from or (s.connected_at = s.ends_at and s.connected_at >= v_from)) as is_in
        from (select o.participant_id, o.connected_at, o.disconnected_at, o.uncertainty_us,
                     coalesce(o.disconnected_at, greatest(o.last_evidence_at, o.connected_at)) as ends_at
              from rollcall.participation_spans o where o.session_id = p_session_id) s
    ), met as (
        -- In one go, and people are looked up one by one below: a plan made for small sessions would join by trying all of a
        -- session's participants for each of them.
        select s.participant_id, min(s.connected_at) filter (where s.is_in) as first_joined_at,
               max(s.disconnected_at) filter (where s.is_in) as last_left_at, count(*) filter (where s.is_in) as connections,
               bool_or(s.disconnected_at is null and s.ends_at < v_to) filter (where s.is_in) as is_open,
               sum(rollcall.us_between(s.starts_in, s.ends_in)) filter (where s.is_in) as connected_us,
               sum((rollcall.us_between(s.starts_in, s.ends_in) + 59999999) / 60000000) filter (where s.is_in)
                   as connection_minutes,
               -- Time that is missing after the end belongs to the period of the end.
               sum(case when s.ends_at <= v_to then s.uncertainty_us else 0 end) filter (where s.is_in) as uncertainty_us,
               range_agg(tstzrange(s.connected_at, s.ends_at)) as covered, bool_or(s.disconnected_at is null) as is_here
        from span s group by s.participant_id having bool_or(s.is_in)
    ), measured as (
        select m.*, rollcall.coverage_seconds(m.covered * tstzmultirange(tstzrange(v_from, v_to))) as covered_s,
               rollcall.coverage_seconds(b.billable) as billable_s,
               extract(epoch from upper(b.billable) - lower(b.billable)) as stay_s
        from met m,
             lateral (select rollcall.bridge_gaps(m.covered, v_grace) * tstzmultirange(tstzrange(v_from, v_to)) as billable) b
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
    left join lateral (select o.identity from rollcall.participants o
                       where o.session_id = p_session_id and o.participant_id = s.participant_id offset 0) p on true
    cross join rollcall.get_billing_watermark() w
    order by s.first_joined_at, s.participant_id;
end
$$;

comment on function rollcall.get_session_billing_data(uuid, timestamptz, timestamptz, text, interval) is
    'Usage of one session per participant. billed_units are seconds for exact and second, else minutes, always rounded up; last_left_at is null while any connection of the participant in the session is open, whatever the period; adjustments_seconds is what of billable_seconds came to light after its period was closed. p_grace null: the tenant''s.';
