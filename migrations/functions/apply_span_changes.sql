-- Brings closed spans that came, went or moved into coverage and usage. What changes is found by comparing the union of
-- spans before and after, so overlaps, repetitions and the order of arrival make no difference to the sums.
--
-- Only spans that reach into the changed stretch of time are read, by their end. Each row is looked up by its index on
-- purpose ("lateral ... offset 0"): a plan that was made while the tables were small must not stay when they have grown. Nor
-- is the statement worth compiling or planning anew: that takes longer than running it.
create or replace function rollcall.apply_span_changes(p_changes rollcall.span_change[], p_shard bigint) returns void
    language plpgsql volatile set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set enable_mergejoin = off
    set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_returned boolean;
    v_sessions uuid[];
    v_locked bigint;
begin
    -- Whoever counts a session has it locked, so nobody else is counting it between "before" and "after". The flusher and
    -- the clean-up hold these locks already.
    v_sessions := array(select distinct c.session_id from unnest(p_changes) c order by c.session_id);
    perform from rollcall.sessions s where s.session_id = any (v_sessions) order by s.session_id for no key update;
    get diagnostics v_locked = row_count;
    if v_locked < cardinality(v_sessions) then
        -- A session that is gone has no row to lock.
        perform pg_advisory_xact_lock(hashtext('rollcall.session'), hashtext(x.session_id::text))
        from unnest(v_sessions) as x (session_id) order by x.session_id;
    end if;
    -- Not while a period is being closed: the fact is either in the statement or an adjustment to it, never neither.
    perform pg_advisory_xact_lock_shared(hashtext('rollcall.close_billing_period'));

    with change as materialized (
        select * from unnest(p_changes)
    ), touched as (
        select c.tenant_id, c.session_id, c.participant_id, min(c.connected_at) as from_at, max(c.disconnected_at) as to_at,
               (min(c.connected_at) at time zone 'UTC')::date as from_day,
               coalesce(range_agg(tstzrange(c.connected_at, c.disconnected_at)) filter (where c.sign > 0), '{}') as covered,
               -- The quarters of an hour that spans touch.
               coalesce(range_agg(c.quarters) filter (where c.sign > 0), '{}') as came,
               coalesce(range_agg(c.quarters) filter (where c.sign < 0), '{}') as went
        from (select o.*, rollcall.quarters_touched(o.connected_at, o.disconnected_at) as quarters from change o) c
        group by c.tenant_id, c.session_id, c.participant_id
    ), person_seen as materialized (
        select m.*, b.first_day, coalesce(b.quarters, '{}') as before,
               coalesce(b.quarters, '{}') - m.went + m.came + coalesce(k.quarters, '{}') as after,
               b.first_day is null and isempty(m.went) as is_new
        from touched m,
             lateral (select range_agg(o.quarters) as quarters, min(o.first_day) as first_day
                      from rollcall.participant_coverage o
                      where o.session_id = m.session_id and o.participant_id = m.participant_id) b,
             -- What others of its spans touch stays.
             lateral (select range_agg(rollcall.quarters_touched(o.connected_at, o.disconnected_at)) as quarters
                      from rollcall.participation_spans o
                      where not isempty(m.went) and o.session_id = m.session_id and o.participant_id = m.participant_id
                        and o.disconnected_at >= lower(m.went) and o.connected_at < upper(m.went)) k
    ), near as (
        -- Each span near the changes once; it is unchanged if no change has the same key. A group instead of a join.
        select n.session_id, n.participant_id, tstzrange(n.connected_at, n.disconnected_at) as covered,
               max(n.sign) as sign
        from (select t.session_id, t.participant_id, s.epoch, s.connection, s.connected_at, s.disconnected_at, 0 as sign
              from person_seen t,
                   lateral (select o.* from rollcall.participation_spans o
                            where o.session_id = t.session_id and o.participant_id = t.participant_id
                              and o.disconnected_at > t.from_at and o.connected_at < t.to_at offset 0) s
              where not t.is_new
              union all
              select t.session_id, t.participant_id, c.epoch, c.connection, c.connected_at, c.disconnected_at, 1
              from person_seen t
              join change c on c.session_id = t.session_id and c.participant_id = t.participant_id
              where not t.is_new and c.sign > 0) n
        group by n.session_id, n.participant_id, n.epoch, n.connection, n.connected_at, n.disconnected_at
    ), settled as (
        -- Who is new has no other spans.
        select t.tenant_id, t.session_id, t.participant_id, '{}'::tstzmultirange as before, t.covered as after
        from person_seen t where t.is_new
        union all
        select t.tenant_id, t.session_id, t.participant_id,
               coalesce(range_agg(x.covered) filter (where x.sign <= 0), '{}'),
               coalesce(range_agg(x.covered) filter (where x.sign >= 0), '{}')
        from person_seen t
        join (select n.session_id, n.participant_id, n.covered, n.sign from near n
              union all
              select c.session_id, c.participant_id, tstzrange(c.connected_at, c.disconnected_at), -1
              from change c where c.sign < 0) x
            on x.session_id = t.session_id and x.participant_id = t.participant_id
        where not t.is_new
        group by t.tenant_id, t.session_id, t.participant_id
    ), move as materialized (
        -- Sets in the select list, here and below: joined to a function, each of so few rows would cost several times as much.
        select m.tenant_id, m.session_id, m.participant_id, m.sign, lower(m.r) as starts_at, upper(m.r) as ends_at
        from (select s.tenant_id, s.session_id, s.participant_id, 1 as sign, unnest(s.after - s.before) as r from settled s
              union all
              select s.tenant_id, s.session_id, s.participant_id, -1, unnest(s.before - s.after)
              from settled s where not isempty(s.before)) m
    ), adjusted as (
        insert into rollcall.billing_adjustments
            (statement_id, tenant_id, session_id, participant_id, starts_at, ends_at, delta_us)
        select b.statement_id, m.tenant_id, m.session_id, m.participant_id, greatest(m.starts_at, b.period_from),
               least(m.ends_at, b.period_to),
               m.sign * rollcall.us_between(greatest(m.starts_at, b.period_from), least(m.ends_at, b.period_to))
        from move m,
             lateral (select o.* from rollcall.billing_statements o
                      where o.tenant_id = m.tenant_id and o.period_to > m.starts_at and o.period_from < m.ends_at
                      offset 0) b
    ), quarter_piece as (
        select m.tenant_id, m.bucket, m.sign,
               m.sign * rollcall.us_between(greatest(m.starts_at, m.bucket),
                                            least(m.ends_at, m.bucket + interval '15 minutes')) as covered_us,
               0::bigint as connected_us, 0 as joins, 0 as carried, 0::bigint as uncertainty_us,
               -- The full minutes of the quarter that lie in the piece. So few seconds and microseconds are exact as a double.
               ceil(date_part('epoch', greatest(m.starts_at, m.bucket) - m.bucket) / 60)::integer as first_minute,
               ceil(date_part('epoch', least(m.ends_at, m.bucket + interval '15 minutes') - m.bucket) / 60)::integer - 1
                   as last_minute
        from (select o.*, generate_series(date_bin('15 minutes', o.starts_at, 'epoch'), o.ends_at - interval '1 microsecond',
                                          interval '15 minutes') as bucket
              from move o) m
        union all
        select c.tenant_id, c.bucket, c.sign, 0,
               c.sign * rollcall.us_between(greatest(c.connected_at, c.bucket),
                                            least(c.disconnected_at, c.bucket + interval '15 minutes')),
               case when c.connected_at >= c.bucket then c.sign else 0 end,
               case when c.connected_at < c.bucket then c.sign else 0 end,
               -- Time that is missing after the end belongs to the quarter of the end, and below to the day of the end.
               case when c.disconnected_at <= c.bucket + interval '15 minutes' then c.sign * c.uncertainty_us else 0 end,
               null, null
        from (select o.*, generate_series(date_bin('15 minutes', o.connected_at, 'epoch'),
                                          greatest(o.connected_at, o.disconnected_at - interval '1 microsecond'),
                                          interval '15 minutes') as bucket
              from change o) c
    ), quarter as materialized (
        select p.tenant_id, p.bucket, sum(p.covered_us) as covered_us, sum(p.connected_us) as connected_us,
               sum(p.joins) as joins, sum(p.carried) as carried, sum(p.uncertainty_us) as uncertainty_us,
               array[coalesce(sum(p.sign) filter (where p.first_minute <= 0 and p.last_minute >= 0), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 1 and p.last_minute >= 1), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 2 and p.last_minute >= 2), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 3 and p.last_minute >= 3), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 4 and p.last_minute >= 4), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 5 and p.last_minute >= 5), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 6 and p.last_minute >= 6), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 7 and p.last_minute >= 7), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 8 and p.last_minute >= 8), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 9 and p.last_minute >= 9), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 10 and p.last_minute >= 10), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 11 and p.last_minute >= 11), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 12 and p.last_minute >= 12), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 13 and p.last_minute >= 13), 0)::integer,
               coalesce(sum(p.sign) filter (where p.first_minute <= 14 and p.last_minute >= 14), 0)::integer] as present
        from quarter_piece p
        group by p.tenant_id, p.bucket
    ), session_seen as materialized (
        select s.tenant_id, s.session_id, s.from_day, b.first_day, coalesce(b.quarters, '{}') as before,
               coalesce(b.quarters, '{}') - s.went + s.came + coalesce(k.quarters, '{}') as after
        from (select p.tenant_id, p.session_id, min(p.from_day) as from_day, range_agg(p.after) as came,
                     range_agg(p.before - p.after) as went
              from person_seen p group by p.tenant_id, p.session_id) s,
             lateral (select range_agg(o.quarters) as quarters, min(o.first_day) as first_day
                      from rollcall.session_usage_day o where o.session_id = s.session_id) b,
             lateral (select range_agg(o.quarters * s.went) as quarters
                      from rollcall.participant_coverage o
                      where not isempty(s.went) and o.session_id = s.session_id
                        and not exists (select from person_seen p
                                        where p.session_id = o.session_id and p.participant_id = o.participant_id)) k
    ), seen as materialized (
        select p.tenant_id, 0 as sessions, 1 as participants, p.before, p.after,
               tstzmultirange(range_merge(p.before)) - p.before as pauses_before,
               tstzmultirange(range_merge(p.after)) - p.after as pauses
        from person_seen p where p.before <> p.after
        union all
        select s.tenant_id, 1, 0, s.before, s.after, tstzmultirange(range_merge(s.before)) - s.before,
               tstzmultirange(range_merge(s.after)) - s.after
        from session_seen s where s.before <> s.after
    ), pause as materialized (
        -- Where somebody is back, and the last quarter before.
        select x.tenant_id, upper(x.r) as bucket, lower(x.r) - interval '15 minutes' as since,
               sum(x.sign * x.sessions) as sessions, sum(x.sign * x.participants) as participants
        from (select s.tenant_id, s.sessions, s.participants, 1 as sign, unnest(s.pauses) as r from seen s
              union all
              select s.tenant_id, s.sessions, s.participants, -1, unnest(s.pauses_before) from seen s) x
        group by x.tenant_id, x.r
        having sum(x.sign * x.sessions) <> 0 or sum(x.sign * x.participants) <> 0
    ), count_returns as (
        insert into rollcall.usage_returns as u (tenant_id, bucket, since, shard, sessions, participants)
        select p.tenant_id, p.bucket, p.since, p_shard, p.sessions, p.participants
        from pause p order by p.tenant_id, p.bucket, p.since
        on conflict (tenant_id, bucket, since, shard) do update
        set sessions = u.sessions + excluded.sessions,
            participants = u.participants + excluded.participants
    ), arrival as (
        -- Who is new in a quarter. Who is in it and neither new nor back is carried: was in the one before, too.
        select a.tenant_id, a.bucket, sum(a.new * a.sessions) as sessions_new, sum(a.carried * a.sessions) as sessions_carried,
               sum(a.new * a.participants) as participants_new, sum(a.carried * a.participants) as participants_carried
        from (select s.tenant_id, s.sessions, s.participants, lower(s.after) as bucket, 1 as new, -1 as carried
              from seen s where not isempty(s.after)
              union all
              select s.tenant_id, s.sessions, s.participants, lower(s.before), -1, 1 from seen s where not isempty(s.before)
              union all
              select p.tenant_id, p.sessions, p.participants, p.bucket, 0, -1 from pause p
              union all
              -- Many come and go in the same quarters, so these are counted before they are spelled out.
              select t.tenant_id, t.sessions, t.participants,
                     generate_series(lower(t.r), upper(t.r) - interval '15 minutes', interval '15 minutes'), 0, 1
              from (select r.tenant_id, r.r, sum(r.sign * r.sessions) as sessions, sum(r.sign * r.participants) as participants
                    from (select s.tenant_id, s.sessions, s.participants, 1 as sign, unnest(s.after - s.before) as r from seen s
                          union all
                          select s.tenant_id, s.sessions, s.participants, -1, unnest(s.before - s.after)
                          from seen s where not isempty(s.before)) r
                    group by r.tenant_id, r.r) t) a
        group by a.tenant_id, a.bucket
    ), day_piece as (
        select m.tenant_id, m.session_id, m.participant_id, m.at, m.sign,
               tstzrange(greatest(m.starts_at, m.at), least(m.ends_at, m.at + interval '24 hours')) as covered,
               m.sign * rollcall.us_between(greatest(m.starts_at, m.at), least(m.ends_at, m.at + interval '24 hours'))
                   as covered_us,
               0 as connections, 0 as carried, 0::bigint as connected_us, 0::bigint as uncertainty_us,
               null::timestamptz as starts_at, null::timestamptz as ends_at
        from (select o.*, generate_series(date_bin('24 hours', o.starts_at, 'epoch'), o.ends_at - interval '1 microsecond',
                                          interval '24 hours') as at
              from move o) m
        union all
        select c.tenant_id, c.session_id, c.participant_id, c.at, c.sign, null, 0,
               c.sign, case when c.connected_at < c.at then c.sign else 0 end,
               rollcall.us_between(greatest(c.connected_at, c.at), least(c.disconnected_at, c.at + interval '24 hours')),
               case when c.disconnected_at <= c.at + interval '24 hours' then c.sign * c.uncertainty_us else 0 end,
               greatest(c.connected_at, c.at), least(c.disconnected_at, c.at + interval '24 hours')
        from (select o.*, generate_series(date_bin('24 hours', o.connected_at, 'epoch'),
                                          greatest(o.connected_at, o.disconnected_at - interval '1 microsecond'),
                                          interval '24 hours') as at
              from change o) c
    ), person_day as (
        select p.tenant_id, p.session_id, p.participant_id, (p.at at time zone 'UTC')::date as day,
               coalesce(range_agg(p.covered) filter (where p.sign > 0), '{}') as grown,
               coalesce(range_agg(p.covered) filter (where p.sign < 0), '{}') as shrunk,
               sum(p.covered_us)::bigint as covered_us, sum(p.connections) as connections, sum(p.carried) as carried,
               sum(p.sign * p.connected_us)::bigint as connected_us,
               sum(p.sign * ((p.connected_us + 59999999) / 60000000))::bigint as connection_minutes,
               sum(p.uncertainty_us)::bigint as uncertainty_us, min(p.starts_at) as starts_at, max(p.ends_at) as ends_at
        from day_piece p
        group by p.tenant_id, p.session_id, p.participant_id, p.at
    ), person as materialized (
        select d.*, coalesce(c.covered, case when c.day is null then '{}'::tstzmultirange end) - d.shrunk + d.grown as covered,
               s.after * tstzmultirange(tstzrange(d.day::timestamp at time zone 'UTC', (d.day + 1)::timestamp at time zone 'UTC'))
                   as quarters,
               coalesce(c.connections, 0) as connections_before, coalesce(c.covered_us, 0) as covered_us_before,
               c.first_day as first_day_before,
               coalesce(c.first_day, least(s.first_day, s.from_day)) as first_day,
               -- An earlier day than known, or a day that empties: the first days are put right afterwards.
               (coalesce(c.covered_us, 0) + d.covered_us + 999999) / 1000000
                   - (coalesce(c.covered_us, 0) + 999999) / 1000000 as whole_seconds,
               (coalesce(c.covered_us, 0) + d.covered_us + 59999999) / 60000000
                   - (coalesce(c.covered_us, 0) + 59999999) / 60000000 as participant_minutes,
               d.day < s.first_day or coalesce(c.connections, 0) + d.connections = 0 or c.connections = 0 as stirred
        from person_day d
        join person_seen s on s.session_id = d.session_id and s.participant_id = d.participant_id
        left join lateral (select o.* from rollcall.participant_coverage o
                           where s.first_day is not null and o.session_id = d.session_id
                             and o.participant_id = d.participant_id and o.day = d.day
                           offset 0) c on true
    ), write_persons as (
        insert into rollcall.participant_coverage as c
            (session_id, participant_id, day, tenant_id, first_day, first_at, last_at, covered, covered_us, connected_us,
             connections, connection_minutes, uncertainty_us, quarters)
        select p.session_id, p.participant_id, p.day, p.tenant_id, p.first_day, p.starts_at, p.ends_at,
               -- A piece takes at least 16 bytes, so what is small has no need to be counted.
               case when pg_column_size(p.covered) <= 16000 or (select count(*) <= 1000 from unnest(p.covered)) then p.covered end,
               p.covered_us, p.connected_us, p.connections, p.connection_minutes, p.uncertainty_us, p.quarters
        from person p order by p.session_id, p.participant_id, p.day
        on conflict (session_id, participant_id, day) do update
        set first_at = least(c.first_at, excluded.first_at),
            last_at = greatest(c.last_at, excluded.last_at),
            covered = excluded.covered,
            covered_us = c.covered_us + excluded.covered_us,
            connected_us = c.connected_us + excluded.connected_us,
            connections = c.connections + excluded.connections,
            connection_minutes = c.connection_minutes + excluded.connection_minutes,
            uncertainty_us = c.uncertainty_us + excluded.uncertainty_us,
            quarters = excluded.quarters
    ), session_day as (
        select p.tenant_id, p.session_id, p.day, sum(p.covered_us)::bigint as covered_us,
               sum((p.connections_before + p.connections > 0)::integer - (p.connections_before > 0)::integer)
                   as participants,
               min(p.starts_at) as starts_at, max(p.ends_at) as ends_at, sum(p.connections) as connections,
               sum(p.connected_us) as connected_us, sum(p.uncertainty_us) as uncertainty_us,
               sum(p.connection_minutes) as connection_minutes, sum(p.whole_seconds) as whole_seconds,
               sum(p.participant_minutes) as participant_minutes
        from person p group by p.tenant_id, p.session_id, p.day
    ), meeting as materialized (
        select d.*,
               s.after * tstzmultirange(tstzrange(d.day::timestamp at time zone 'UTC', (d.day + 1)::timestamp at time zone 'UTC'))
                   as quarters,
               coalesce(u.covered_us, 0) as covered_us_before, coalesce(u.participants, 0) as participants_before,
               u.first_at as first_at_before, coalesce(u.connections, 0) as connections_before, coalesce(u.connected_us, 0) as connected_us_before,
               coalesce(u.uncertainty_us, 0) as uncertainty_us_before, coalesce(u.whole_seconds, 0) as whole_seconds_before,
               coalesce(u.connection_minutes, 0) as connection_minutes_before, coalesce(u.participant_minutes, 0) as participant_minutes_before,
               coalesce(u.first_day, least(s.first_day, s.from_day)) as first_day,
               d.day < s.first_day or coalesce(u.participants, 0) + d.participants = 0 or u.participants = 0 as stirred
        from session_day d
        join session_seen s on s.session_id = d.session_id
        left join lateral (select o.* from rollcall.session_usage_day o
                           where s.first_day is not null and o.session_id = d.session_id and o.day = d.day offset 0) u on true
    ), write_meetings as (
        insert into rollcall.session_usage_day as u
            (session_id, day, tenant_id, first_day, first_at, last_at, participants, covered_us, connections, connected_us,
             uncertainty_us, whole_seconds, connection_minutes, participant_minutes, quarters)
        select m.session_id, m.day, m.tenant_id, m.first_day, m.starts_at, m.ends_at, m.participants, m.covered_us,
               m.connections, m.connected_us, m.uncertainty_us, m.whole_seconds, m.connection_minutes, m.participant_minutes,
               m.quarters
        from meeting m order by m.session_id, m.day
        on conflict (session_id, day) do update
        set first_at = least(u.first_at, excluded.first_at),
            last_at = greatest(u.last_at, excluded.last_at),
            participants = u.participants + excluded.participants,
            covered_us = u.covered_us + excluded.covered_us,
            connections = u.connections + excluded.connections,
            connected_us = u.connected_us + excluded.connected_us,
            uncertainty_us = u.uncertainty_us + excluded.uncertainty_us,
            whole_seconds = u.whole_seconds + excluded.whole_seconds,
            connection_minutes = u.connection_minutes + excluded.connection_minutes,
            participant_minutes = u.participant_minutes + excluded.participant_minutes,
            quarters = excluded.quarters
    ), begun as (
        -- Taken away where it was and added where it is now: the first moment of a session day may have become an earlier one.
        select x.tenant_id, date_bin('15 minutes', x.first_at, 'epoch') as bucket, x.sign,
               (x.participants > 0)::integer as sessions, x.participants, x.connections, x.connected_us, x.covered_us,
               x.uncertainty_us, x.whole_seconds, x.connection_minutes, x.participant_minutes
        from (select m.tenant_id, -1 as sign, m.first_at_before as first_at, m.participants_before as participants,
                     m.connections_before as connections, m.connected_us_before as connected_us,
                     m.covered_us_before as covered_us, m.uncertainty_us_before as uncertainty_us,
                     m.whole_seconds_before as whole_seconds, m.connection_minutes_before as connection_minutes,
                     m.participant_minutes_before as participant_minutes
              from meeting m where m.first_at_before is not null
              union all
              select m.tenant_id, 1, least(m.first_at_before, m.starts_at), m.participants_before + m.participants,
                     m.connections_before + m.connections, m.connected_us_before + m.connected_us,
                     m.covered_us_before + m.covered_us, m.uncertainty_us_before + m.uncertainty_us,
                     m.whole_seconds_before + m.whole_seconds,
                     m.connection_minutes_before + m.connection_minutes,
                     m.participant_minutes_before + m.participant_minutes
              from meeting m) x
    ), quarter_sum as materialized (
        select x.tenant_id, x.bucket, sum(x.covered_us) as covered_us, sum(x.connected_us) as connected_us,
               sum(x.joins) as joins, sum(x.connections_carried) as connections_carried,
               sum(x.uncertainty_us) as uncertainty_us, coalesce(min(x.present), array_fill(0, array[15])) as present,
               sum(x.sessions_new) as sessions_new, sum(x.sessions_carried) as sessions_carried,
               sum(x.participants_new) as participants_new, sum(x.participants_carried) as participants_carried,
               sum(x.begun_sessions) as begun_sessions, sum(x.begun_participants) as begun_participants,
               sum(x.begun_connections) as begun_connections, sum(x.begun_connected_us) as begun_connected_us,
               sum(x.begun_covered_us) as begun_covered_us, sum(x.begun_uncertainty_us) as begun_uncertainty_us,
               sum(x.begun_whole_seconds) as begun_whole_seconds, sum(x.begun_connection_minutes) as begun_connection_minutes,
               sum(x.begun_participant_minutes) as begun_participant_minutes,
               sum(x.begun_session_minutes) as begun_session_minutes
        from (select q.tenant_id, q.bucket, q.covered_us, q.connected_us, q.joins, q.carried as connections_carried,
                     q.uncertainty_us, q.present, 0 as sessions_new, 0 as sessions_carried, 0 as participants_new,
                     0 as participants_carried, 0 as begun_sessions, 0 as begun_participants, 0 as begun_connections,
                     0 as begun_connected_us, 0 as begun_covered_us, 0 as begun_uncertainty_us, 0 as begun_whole_seconds,
                     0 as begun_connection_minutes, 0 as begun_participant_minutes, 0 as begun_session_minutes
              from quarter q
              union all
              select a.tenant_id, a.bucket, 0, 0, 0, 0, 0, null, a.sessions_new, a.sessions_carried, a.participants_new,
                     a.participants_carried, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
              from arrival a
              union all
              select b.tenant_id, b.bucket, 0, 0, 0, 0, 0, null, 0, 0, 0, 0, sum(b.sign * b.sessions),
                     sum(b.sign * b.participants), sum(b.sign * b.connections), sum(b.sign * b.connected_us),
                     sum(b.sign * b.covered_us), sum(b.sign * b.uncertainty_us), sum(b.sign * b.whole_seconds),
                     sum(b.sign * b.connection_minutes), sum(b.sign * b.participant_minutes),
                     sum(b.sign * ((b.covered_us + 59999999) / 60000000))
              from begun b group by b.tenant_id, b.bucket) x
        group by x.tenant_id, x.bucket
    ), count_total as (
        insert into rollcall.total_15m as u
            (bucket, shard, covered_us, joins, participants_new, participants_carried, present)
        select q.bucket, p_shard, sum(q.covered_us), sum(q.joins), sum(q.participants_new), sum(q.participants_carried),
               array[sum(q.present[1]), sum(q.present[2]), sum(q.present[3]), sum(q.present[4]), sum(q.present[5]),
                 sum(q.present[6]), sum(q.present[7]), sum(q.present[8]), sum(q.present[9]), sum(q.present[10]),
                 sum(q.present[11]), sum(q.present[12]), sum(q.present[13]), sum(q.present[14]), sum(q.present[15])]::integer[]
        from quarter_sum q group by q.bucket order by q.bucket
        on conflict (bucket, shard) do update
        set covered_us = u.covered_us + excluded.covered_us,
            joins = u.joins + excluded.joins,
            participants_new = u.participants_new + excluded.participants_new,
            participants_carried = u.participants_carried + excluded.participants_carried,
            present = array[u.present[1] + excluded.present[1], u.present[2] + excluded.present[2], u.present[3] + excluded.present[3],
                         u.present[4] + excluded.present[4], u.present[5] + excluded.present[5], u.present[6] + excluded.present[6],
                         u.present[7] + excluded.present[7], u.present[8] + excluded.present[8], u.present[9] + excluded.present[9],
                         u.present[10] + excluded.present[10], u.present[11] + excluded.present[11], u.present[12] + excluded.present[12],
                         u.present[13] + excluded.present[13], u.present[14] + excluded.present[14], u.present[15] + excluded.present[15]]
    ), count_quarters as (
        insert into rollcall.usage_15m as u
            (tenant_id, bucket, shard, covered_us, connected_us, joins, connections_carried, uncertainty_us, present,
             sessions_new, sessions_carried, participants_new, participants_carried, begun_sessions, begun_participants,
             begun_connections, begun_connected_us, begun_covered_us, begun_uncertainty_us, begun_whole_seconds,
             begun_connection_minutes, begun_participant_minutes, begun_session_minutes)
        select q.tenant_id, q.bucket, p_shard, q.covered_us, q.connected_us, q.joins, q.connections_carried, q.uncertainty_us,
               q.present, q.sessions_new, q.sessions_carried, q.participants_new, q.participants_carried, q.begun_sessions,
               q.begun_participants, q.begun_connections, q.begun_connected_us, q.begun_covered_us, q.begun_uncertainty_us,
               q.begun_whole_seconds, q.begun_connection_minutes, q.begun_participant_minutes, q.begun_session_minutes
        from quarter_sum q order by q.tenant_id, q.bucket
        on conflict (tenant_id, bucket, shard) do update
        set covered_us = u.covered_us + excluded.covered_us,
            connected_us = u.connected_us + excluded.connected_us,
            joins = u.joins + excluded.joins,
            connections_carried = u.connections_carried + excluded.connections_carried,
            uncertainty_us = u.uncertainty_us + excluded.uncertainty_us,
            present = array[u.present[1] + excluded.present[1], u.present[2] + excluded.present[2], u.present[3] + excluded.present[3],
                         u.present[4] + excluded.present[4], u.present[5] + excluded.present[5], u.present[6] + excluded.present[6],
                         u.present[7] + excluded.present[7], u.present[8] + excluded.present[8], u.present[9] + excluded.present[9],
                         u.present[10] + excluded.present[10], u.present[11] + excluded.present[11], u.present[12] + excluded.present[12],
                         u.present[13] + excluded.present[13], u.present[14] + excluded.present[14], u.present[15] + excluded.present[15]],
            sessions_new = u.sessions_new + excluded.sessions_new,
            sessions_carried = u.sessions_carried + excluded.sessions_carried,
            participants_new = u.participants_new + excluded.participants_new,
            participants_carried = u.participants_carried + excluded.participants_carried,
            begun_sessions = u.begun_sessions + excluded.begun_sessions,
            begun_participants = u.begun_participants + excluded.begun_participants,
            begun_connections = u.begun_connections + excluded.begun_connections,
            begun_connected_us = u.begun_connected_us + excluded.begun_connected_us,
            begun_covered_us = u.begun_covered_us + excluded.begun_covered_us,
            begun_uncertainty_us = u.begun_uncertainty_us + excluded.begun_uncertainty_us,
            begun_whole_seconds = u.begun_whole_seconds + excluded.begun_whole_seconds,
            begun_connection_minutes = u.begun_connection_minutes + excluded.begun_connection_minutes,
            begun_participant_minutes = u.begun_participant_minutes + excluded.begun_participant_minutes,
            begun_session_minutes = u.begun_session_minutes + excluded.begun_session_minutes
    ), day_sum as (
        select x.tenant_id, x.day,
               sum(x.sessions) as sessions, sum(x.sessions_new) as sessions_new, sum(x.participants) as participants,
               sum(x.participants_new) as participants_new, sum(x.connections) as connections, sum(x.carried) as carried,
               sum(x.connected_us) as connected_us, sum(x.covered_us) as covered_us,
               sum(x.uncertainty_us) as uncertainty_us, sum(x.whole_seconds) as whole_seconds,
               sum(x.connection_minutes) as connection_minutes, sum(x.participant_minutes) as participant_minutes,
               sum(x.session_minutes) as session_minutes
        from (select p.tenant_id, p.day, 0 as sessions, 0 as sessions_new, a.step as participants,
                     case when p.first_day = p.day then a.step else 0 end as participants_new, p.connections, p.carried,
                     p.connected_us, p.covered_us, p.uncertainty_us,
                     p.whole_seconds, p.connection_minutes, p.participant_minutes, 0 as session_minutes
              from person p,
                   lateral (select (p.connections_before + p.connections > 0)::integer
                                   - (p.connections_before > 0)::integer as step) a
              union all
              select m.tenant_id, m.day, a.step, case when m.first_day = m.day then a.step else 0 end, 0, 0, 0, 0, 0, 0, 0,
                     0, 0, 0,
                     (m.covered_us_before + m.covered_us + 59999999) / 60000000
                         - (m.covered_us_before + 59999999) / 60000000
              from meeting m,
                   lateral (select (m.participants_before + m.participants > 0)::integer
                                   - (m.participants_before > 0)::integer as step) a) x
        group by x.tenant_id, x.day
    ), count_days as (
        insert into rollcall.usage_day as u
            (tenant_id, day, shard, sessions, sessions_new, participants, participants_new, connections,
             connections_carried, connected_us, covered_us, uncertainty_us, whole_seconds, connection_minutes,
             participant_minutes, session_minutes)
        select d.tenant_id, d.day, p_shard, d.sessions, d.sessions_new, d.participants, d.participants_new, d.connections,
               d.carried, d.connected_us, d.covered_us, d.uncertainty_us, d.whole_seconds, d.connection_minutes,
               d.participant_minutes, d.session_minutes
        from day_sum d order by d.tenant_id, d.day
        on conflict (tenant_id, day, shard) do update
        set sessions = u.sessions + excluded.sessions,
            sessions_new = u.sessions_new + excluded.sessions_new,
            participants = u.participants + excluded.participants,
            participants_new = u.participants_new + excluded.participants_new,
            connections = u.connections + excluded.connections,
            connections_carried = u.connections_carried + excluded.connections_carried,
            connected_us = u.connected_us + excluded.connected_us,
            covered_us = u.covered_us + excluded.covered_us,
            uncertainty_us = u.uncertainty_us + excluded.uncertainty_us,
            whole_seconds = u.whole_seconds + excluded.whole_seconds,
            connection_minutes = u.connection_minutes + excluded.connection_minutes,
            participant_minutes = u.participant_minutes + excluded.participant_minutes,
            session_minutes = u.session_minutes + excluded.session_minutes
    )
    select coalesce((select bool_or(p.stirred) from person p), false)
        or coalesce((select bool_or(m.stirred) from meeting m), false)
    into v_returned;

    if v_returned then
        perform rollcall.settle_first_days(v_sessions, p_shard);
    end if;
end
$$;

comment on function rollcall.apply_span_changes(rollcall.span_change[], bigint) is
    'Internal: brings closed spans that came, went or moved into coverage, usage and adjustments.';
