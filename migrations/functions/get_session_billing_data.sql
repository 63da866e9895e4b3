-- The bill of one session, one row per participant. billable_seconds is the union of the participant's spans: two tabs
-- count once. Times of first and last are as they were, not clipped to the period.
create or replace function rollcall.get_session_billing_data(
    p_session_id uuid,
    p_from timestamptz default null,
    p_to timestamptz default null,
    p_rounding text default 'exact'
) returns table (participant_id uuid, identity text, first_joined_at timestamptz, last_left_at timestamptz,
                 connections bigint, connected_seconds numeric, billable_seconds numeric, overlap_seconds numeric,
                 gap_seconds numeric, billed_units numeric, uncertainty_seconds numeric, is_open boolean,
                 adjustments_seconds numeric, complete_through timestamptz)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    perform rollcall.check_arguments(p_rounding => coalesce(p_rounding, 'null'), p_from => p_from, p_to => p_to);
    perform from rollcall.sessions s where s.session_id = p_session_id;
    if not found then
        raise exception 'unknown session %', coalesce(p_session_id::text, 'null')
            using errcode = 'no_data_found', hint = 'Look it up in rollcall.sessions.';
    end if;
    return query
    with participant as (
        select c.participant_id, min(c.connected_at) as first_joined_at, max(c.disconnected_at) as last_left_at,
               count(*) as connections, bool_or(c.is_open) as is_open,
               sum(extract(epoch from c.ends_at - c.starts_at)) as connected_s,
               sum(ceil(extract(epoch from c.ends_at - c.starts_at) / 60)) as connection_minutes,
               range_agg(c.covered) as coverage,
               sum(c.uncertainty_us) / 1000000.0 as uncertainty_s
        from rollcall.clipped_spans(null, p_session_id, coalesce(p_from, '-infinity'), coalesce(p_to, 'infinity')) c
        group by c.participant_id
    ), measured as (
        select p.*, rollcall.coverage_seconds(p.coverage) as billable_s,
               extract(epoch from upper(p.coverage) - lower(p.coverage)) as stay_s
        from participant p
    ), summed as (
        -- Running sums, so that rounding once per session still gives rows that add up to the rounded total; in the order
        -- of get_usage, so that both give the odd minute to the same participant.
        select m.*, sum(m.billable_s) over (order by m.participant_id) as running_s from measured m
    )
    select s.participant_id, p.identity, s.first_joined_at,
           -- Whoever has an open connection has not left, also where the period ends before it.
           case when not exists (select from rollcall.participation_spans o
                                 where o.session_id = p_session_id and o.participant_id = s.participant_id
                                   and o.disconnected_at is null) then s.last_left_at end,
           s.connections, s.connected_s, s.billable_s, s.connected_s - s.billable_s,
           coalesce(s.stay_s, 0) - s.billable_s,
           case p_rounding
               when 'exact' then s.billable_s
               when 'second' then ceil(s.billable_s)
               when 'minute_per_connection' then s.connection_minutes
               when 'minute_per_participant' then ceil(s.billable_s / 60)
               else ceil(s.running_s / 60) - ceil((s.running_s - s.billable_s) / 60)
           end,
           s.uncertainty_s, s.is_open, 0::numeric, w.complete_through
    from summed s
    left join rollcall.participants p on p.session_id = p_session_id and p.participant_id = s.participant_id
    cross join rollcall.get_billing_watermark() w
    order by s.first_joined_at, s.participant_id;
end
$$;

comment on function rollcall.get_session_billing_data(uuid, timestamptz, timestamptz, text) is
    'Usage of one session per participant. billed_units are seconds for exact and second, else minutes, always rounded up; last_left_at is null while any connection of the participant in the session is open, whatever the period.';
