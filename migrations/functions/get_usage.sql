-- Usage of a tenant by day, session or participant. Rounding happens once in each row of the answer: a connection over
-- midnight is two connections when grouped by day.
create or replace function rollcall.get_usage(
    p_tenant_id uuid,
    p_from timestamptz,
    p_to timestamptz,
    p_group text default 'day',
    p_tz text default 'UTC',
    p_rounding text default 'exact'
) returns table (day date, session_id uuid, participant_id uuid, identity text, sessions bigint, participants bigint,
                 connections bigint, connected_seconds numeric, billable_seconds numeric, overlap_seconds numeric,
                 billed_units numeric, uncertainty_seconds numeric, is_open boolean, adjustments_seconds numeric,
                 complete_through timestamptz)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    perform rollcall.check_arguments(coalesce(p_rounding, 'null'), coalesce(p_tz, 'null'), p_from, p_to);
    if p_tenant_id is null or p_from is null or p_to is null or not isfinite(p_from) or not isfinite(p_to) then
        raise exception 'get_usage needs a tenant and a finite period'
            using errcode = 'invalid_parameter_value', hint = 'Give p_tenant_id, p_from and p_to.';
    end if;
    if p_group is null or p_group not in ('day', 'session', 'participant') then
        raise exception 'unknown group "%"', coalesce(p_group, 'null')
            using errcode = 'invalid_parameter_value', hint = 'One of day, session, participant.';
    end if;
    return query
    with bucket as (
        select d.label::date as day, d.lower_at, d.upper_at from rollcall.time_buckets('day', p_tz, p_from, p_to) d
        where p_group = 'day'
        union all
        select null, p_from, p_to where p_group <> 'day'
    ), span as materialized (
        select c.session_id, c.participant_id, c.starts_at, c.ends_at, c.uncertainty_us, c.is_open
        from rollcall.clipped_spans(p_tenant_id, null, p_from, p_to) c
    ), piece as (
        select b.day, s.session_id, s.participant_id, s.is_open and s.ends_at < b.upper_at as is_open,
               case when s.ends_at <= b.upper_at then s.uncertainty_us else 0 end as uncertainty_us,
               greatest(s.starts_at, b.lower_at) as starts_at, least(s.ends_at, b.upper_at) as ends_at
        from bucket b
        -- A span without length lies in one bucket; it adds a connection, but no time.
        join span s on s.starts_at < b.upper_at
            and (s.ends_at > b.lower_at or (s.starts_at = s.ends_at and s.starts_at >= b.lower_at))
    ), participant as (
        select p.day, p.session_id, p.participant_id, count(*) as connections, bool_or(p.is_open) as is_open,
               sum(extract(epoch from p.ends_at - p.starts_at)) as connected_s,
               sum(ceil(extract(epoch from p.ends_at - p.starts_at) / 60)) as connection_minutes,
               rollcall.coverage_seconds(range_agg(tstzrange(p.starts_at, p.ends_at))) as billable_s,
               sum(p.uncertainty_us) / 1000000.0 as uncertainty_s
        from piece p group by p.day, p.session_id, p.participant_id
    ), running as (
        -- Running sums, so that rounding once per session still gives rows that add up to the rounded total.
        select p.*, sum(p.billable_s) over (partition by p.day, p.session_id order by p.participant_id) as running_s
        from participant p
    ), rounded as (
        select r.*, case p_rounding
                   when 'exact' then r.billable_s
                   when 'second' then ceil(r.billable_s)
                   when 'minute_per_connection' then r.connection_minutes
                   when 'minute_per_participant' then ceil(r.billable_s / 60)
                   else ceil(r.running_s / 60) - ceil((r.running_s - r.billable_s) / 60)
               end as units
        from running r
    )
    select r.day,
           case when p_group <> 'day' then r.session_id end,
           case when p_group = 'participant' then r.participant_id end,
           case when p_group = 'participant' then min(p.identity) end,
           count(distinct r.session_id), count(*), sum(r.connections)::bigint, sum(r.connected_s), sum(r.billable_s),
           sum(r.connected_s) - sum(r.billable_s), sum(r.units), sum(r.uncertainty_s), bool_or(r.is_open), 0::numeric,
           min(w.complete_through)
    from rounded r
    left join rollcall.participants p on p.session_id = r.session_id and p.participant_id = r.participant_id
    cross join rollcall.get_billing_watermark() w
    group by 1, 2, 3
    order by 1, 2, 3;
end
$$;

comment on function rollcall.get_usage(uuid, timestamptz, timestamptz, text, text, text) is
    'Usage of a tenant in [p_from, p_to) by day (of p_tz), session or participant of a session. billed_units as in get_session_billing_data.';
