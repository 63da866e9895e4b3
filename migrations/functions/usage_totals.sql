-- What each tenant (or the one given) used in [p_from, p_to) in all, without a grace and exact, for a period that has whole days
-- (UTC) in it. Those come out of usage_day; what the period has of a day before them (the head) and behind them (the tail) out
-- of the quarters of an hour, counted from the nearer end of that day. Only the sessions that are cut by an end of the period
-- are looked at one by one.
--
-- Put together, nobody may count twice. Connections: those carried over a midnight count before it. Sessions and participants
-- count where they are new; of those that were there on several days only two kinds do not add up by themselves and are looked
-- up: who was there before the whole days already, and who is in the tail again.
drop function if exists rollcall.usage_totals(uuid, timestamptz, timestamptz);
drop function if exists rollcall.usage_totals(uuid, timestamptz, timestamptz, uuid[]);

create function rollcall.usage_totals(p_tenant_id uuid, p_from timestamptz, p_to timestamptz, p_open uuid[])
    returns table (tenant_id uuid, sessions bigint, participants bigint, connections bigint, connected_us bigint,
                   covered_us bigint, uncertainty_us bigint, is_open boolean)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set enable_sort = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    c_quarter constant interval := '15 minutes';
    v_whole timestamptz := date_bin('24 hours', p_from + interval '24 hours' - interval '1 microsecond', 'epoch');
    v_whole_to timestamptz := date_bin('24 hours', p_to, 'epoch');
    v_day date := (v_whole at time zone 'UTC')::date;
    v_day_to date := (v_whole_to at time zone 'UTC')::date;
    v_head date := case when p_from < v_whole then v_day - 1 end;
    v_tail date := case when p_to > v_whole_to then v_day_to end;
    -- Whether a cut day is counted as the day less what lies outside.
    v_head_by_rest boolean := p_from <= v_whole - interval '12 hours';
    v_tail_by_rest boolean := p_to >= v_whole_to + interval '12 hours';
    v_cut_head uuid[];
    v_cut_tail uuid[];
begin
    if v_whole >= v_whole_to then
        raise exception 'usage_totals needs a whole day (UTC) between % and %', p_from, p_to using errcode = 'invalid_parameter_value';
    end if;
    -- A midnight is crossed by none: there the rows of a day end.
    select coalesce(array_agg(c.session_id) filter (where c.at = p_from), '{}'),
           coalesce(array_agg(c.session_id) filter (where c.at = p_to), '{}')
    into v_cut_head, v_cut_tail
    from rollcall.sessions_crossing(p_tenant_id, array[p_from, p_to]) c;
    return query
    with tenant as materialized (
        select t.tenant_id from rollcall.tenants t where p_tenant_id is null or t.tenant_id = p_tenant_id
    ), stretch (sign, from_at, to_at) as (
        -- Of the head and the tail, from full quarter to full quarter, and below what is between these and the ends.
        select -1, date_bin('24 hours', p_from, 'epoch'), date_bin(c_quarter, p_from, 'epoch')
        where v_head is not null and v_head_by_rest
        union all
        select 1, date_bin(c_quarter, p_from + c_quarter - interval '1 microsecond', 'epoch'), v_whole
        where v_head is not null and not v_head_by_rest
        union all
        select -1, date_bin(c_quarter, p_to + c_quarter - interval '1 microsecond', 'epoch'), v_whole_to + interval '24 hours'
        where v_tail is not null and v_tail_by_rest
        union all
        select 1, v_whole_to, date_bin(c_quarter, p_to, 'epoch') where v_tail is not null and not v_tail_by_rest
    ), remainder (sign, from_at, to_at) as (
        select case when v_head_by_rest then -1 else 1 end,
               case when v_head_by_rest then date_bin(c_quarter, p_from, 'epoch') else p_from end,
               case when v_head_by_rest then p_from
                    else date_bin(c_quarter, p_from + c_quarter - interval '1 microsecond', 'epoch') end
        where date_bin(c_quarter, p_from, 'epoch') <> p_from
        union all
        select case when v_tail_by_rest then -1 else 1 end,
               case when v_tail_by_rest then p_to else date_bin(c_quarter, p_to, 'epoch') end,
               case when v_tail_by_rest then date_bin(c_quarter, p_to + c_quarter - interval '1 microsecond', 'epoch') else p_to end
        where date_bin(c_quarter, p_to, 'epoch') <> p_to
    ), days as (
        select u.tenant_id,
               sum(case when d.is_whole then u.sessions_new when d.is_taken then u.sessions else 0 end) as sessions,
               sum(case when d.is_whole then u.participants_new when d.is_taken then u.participants else 0 end)
                   as participants,
               sum(case when d.is_taken then u.connections else 0 end
                   - case when d.is_carried_into then u.connections_carried else 0 end) as connections,
               coalesce(sum(u.connected_us) filter (where d.is_taken), 0) as connected_us,
               coalesce(sum(u.covered_us) filter (where d.is_taken), 0) as covered_us,
               coalesce(sum(u.uncertainty_us) filter (where d.is_taken), 0) as uncertainty_us
        from (select o.* from rollcall.usage_day o
              where p_tenant_id is not null and o.tenant_id = p_tenant_id and o.day >= coalesce(v_head, v_day)
                and o.day <= coalesce(v_tail, v_day_to - 1)
              union all
              select o.* from rollcall.usage_day o
              where p_tenant_id is null and o.day >= coalesce(v_head, v_day) and o.day <= coalesce(v_tail, v_day_to - 1)) u,
             lateral (select u.day >= v_day and u.day < v_day_to as is_whole,
                             (u.day >= v_day or v_head_by_rest) and (u.day < v_day_to or v_tail_by_rest) as is_taken,
                             u.day > v_day or (u.day = v_day and v_head is not null) as is_carried_into) d
        group by u.tenant_id
    ), quarters as (
        select t.tenant_id, u.*
        from tenant t,
             lateral (select sum(s.sign * q.begun_sessions) as sessions, sum(s.sign * q.begun_participants) as participants,
                             sum(s.sign * q.begun_connections) as connections,
                             sum(s.sign * q.begun_connected_us) as connected_us,
                             sum(s.sign * q.begun_covered_us) as covered_us,
                             sum(s.sign * q.begun_uncertainty_us) as uncertainty_us
                      from stretch s join rollcall.usage_15m q
                          on q.tenant_id = t.tenant_id and q.bucket >= s.from_at and q.bucket < s.to_at) u
        where u.sessions is not null
    ), single as (
        select r.sign, u.*
        from tenant t, remainder r, generate_series(0, 3) as l (lasting),
             lateral (select o.* from rollcall.session_usage_day o
                      where o.tenant_id = t.tenant_id and o.lasting = l.lasting and o.first_at >= r.from_at
                        and o.first_at < r.to_at and o.participants > 0 offset 0) u
        union all
        select -1, u.*
        from unnest(v_cut_tail) as s (session_id),
             lateral (select o.* from rollcall.session_usage_day o
                      where o.session_id = s.session_id and o.day = v_tail offset 0) u
    ), piece as (
        select u.tenant_id, u.session_id, 1 as sign, count(*) as participants, sum(u.connections) as connections,
               sum(u.connected_us) as connected_us, sum(u.covered_us) as covered_us, sum(u.uncertainty_us) as uncertainty_us,
               false as is_open
        from rollcall.usage_pieces(v_cut_head || v_cut_tail, array[p_from, v_whole, v_whole_to, p_to], false, interval '0') u
        where (u.bucket = 1 and u.session_id = any (v_cut_head)) or (u.bucket = 3 and u.session_id = any (v_cut_tail))
        group by u.tenant_id, u.session_id, u.bucket
        union all
        -- What open connections add.
        select u.tenant_id, u.session_id, x.sign, count(*), sum(u.connections), sum(u.connected_us), sum(u.covered_us),
               sum(u.uncertainty_us), bool_or(u.is_open)
        from (values (1, true), (-1, false)) as x (sign, with_open),
             lateral rollcall.usage_pieces(p_open, array[p_from, p_to], x.with_open, interval '0') u
        where cardinality(p_open) > 0
        group by u.tenant_id, u.session_id, x.sign
    ), again as (
        select distinct t.tenant_id, c.session_id, c.participant_id, c.first_day
        from tenant t,
             lateral (select o.session_id, o.participant_id, o.first_day from rollcall.participant_coverage o
                      where o.tenant_id = t.tenant_id and o.day > o.first_day and o.first_day < v_day and o.connections > 0
                        and o.day >= coalesce(v_head, v_day) and o.day <= coalesce(v_tail, v_day_to - 1)
                      union all
                      select o.session_id, o.participant_id, o.first_day from rollcall.participant_coverage o
                      where o.tenant_id = t.tenant_id and o.day > o.first_day and o.day = v_tail and o.connections > 0
                      offset 0) c
    ), again_seen as (
        -- 1 for each of the places where the sums above count them.
        select a.tenant_id, (a.first_day >= v_day and a.first_day < v_day_to)::integer as is_new,
               exists (select from rollcall.participant_coverage o
                       where o.session_id = a.session_id and o.participant_id = a.participant_id and o.connections > 0
                         and o.day >= v_day and o.day < v_day_to) as in_whole,
               exists (select from rollcall.participant_coverage o
                       where o.session_id = a.session_id and o.participant_id = a.participant_id and o.connections > 0
                         and o.day = v_head
                         and (o.first_at >= p_from
                              or exists (select from rollcall.participation_spans s
                                         where s.session_id = a.session_id and s.participant_id = a.participant_id
                                           and s.connected_at < v_whole and s.disconnected_at >= p_from
                                           and (s.disconnected_at > p_from or s.connected_at = p_from)))) as in_head,
               exists (select from rollcall.participant_coverage o
                       where o.session_id = a.session_id and o.participant_id = a.participant_id and o.connections > 0
                         and o.day = v_tail and o.first_at < p_to) as in_tail
        from again a
    ), session_again as (
        select distinct t.tenant_id, c.session_id, c.first_day
        from tenant t,
             lateral (select o.session_id, o.first_day from rollcall.session_usage_day o
                      where o.tenant_id = t.tenant_id and o.day > o.first_day and o.first_day < v_day and o.participants > 0
                        and o.day >= coalesce(v_head, v_day) and o.day <= coalesce(v_tail, v_day_to - 1)
                      union all
                      select o.session_id, o.first_day from rollcall.session_usage_day o
                      where o.tenant_id = t.tenant_id and o.day > o.first_day and o.day = v_tail and o.participants > 0
                      offset 0) c
    ), session_again_seen as (
        select a.tenant_id, (a.first_day >= v_day and a.first_day < v_day_to)::integer as is_new,
               exists (select from rollcall.session_usage_day o
                       where o.session_id = a.session_id and o.participants > 0 and o.day >= v_day and o.day < v_day_to) as in_whole,
               exists (select from rollcall.session_usage_day o
                       where o.session_id = a.session_id and o.participants > 0 and o.day = v_head
                         and (o.first_at >= p_from
                              or exists (select from rollcall.participation_spans s
                                         where s.session_id = a.session_id
                                           and s.connected_at < v_whole and s.disconnected_at >= p_from
                                           and (s.disconnected_at > p_from or s.connected_at = p_from)))) as in_head,
               exists (select from rollcall.session_usage_day o
                       where o.session_id = a.session_id and o.participants > 0 and o.day = v_tail and o.first_at < p_to) as in_tail
        from session_again a
    )
    select x.tenant_id, sum(x.sessions)::bigint, sum(x.participants)::bigint, sum(x.connections)::bigint,
           sum(x.connected_us)::bigint, sum(x.covered_us)::bigint, sum(x.uncertainty_us)::bigint, bool_or(x.is_open)
    from (select d.*, false as is_open from days d
          union all
          select q.*, false from quarters q
          union all
          select s.tenant_id, s.sign, s.sign * s.participants, s.sign * s.connections, s.sign * s.connected_us,
                 s.sign * s.covered_us, s.sign * s.uncertainty_us, false
          from single s
          union all
          select p.tenant_id, p.sign, p.sign * p.participants, p.sign * p.connections, p.sign * p.connected_us,
                 p.sign * p.covered_us, p.sign * p.uncertainty_us, p.is_open
          from piece p
          union all
          select a.tenant_id, 0, (a.in_head or a.in_whole or a.in_tail)::integer - a.is_new - a.in_head::integer - a.in_tail::integer,
                 0, 0, 0, 0, false
          from again_seen a
          union all
          select a.tenant_id, (a.in_head or a.in_whole or a.in_tail)::integer - a.is_new - a.in_head::integer - a.in_tail::integer,
                 0, 0, 0, 0, 0, false
          from session_again_seen a) x
    group by x.tenant_id;
end
$$;

comment on function rollcall.usage_totals(uuid, timestamptz, timestamptz, uuid[]) is
    'Internal: usage of each tenant (null: all) in a period that has whole days (UTC), exact and without a grace; p_open are the sessions with open connections.';
