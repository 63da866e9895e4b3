-- What open connections add to the quarters of usage_15m: for each participant the time up to the last evidence that its
-- closed spans do not cover already.
drop function if exists rollcall.open_minutes(uuid[], timestamptz, timestamptz);

create function rollcall.open_minutes(p_sessions uuid[], p_from timestamptz, p_to timestamptz)
    returns table (bucket timestamptz, joins bigint, present integer[])
    language sql stable set search_path = pg_catalog, pg_temp set jit = off as $$
    with added as (
        select tstzmultirange(tstzrange(p_from, p_to))
               * (range_agg(tstzrange(s.connected_at, greatest(s.last_evidence_at, s.connected_at)))
                      filter (where s.disconnected_at is null)
                  - coalesce(range_agg(tstzrange(s.connected_at, s.disconnected_at))
                                 filter (where s.disconnected_at is not null), '{}')) as covered
        from rollcall.participation_spans s where s.session_id = any (p_sessions)
        group by s.session_id, s.participant_id
    ), minute as (
        select date_bin('15 minutes', m.at, 'epoch') as bucket, 0 as joins,
               (extract(epoch from m.at - date_bin('15 minutes', m.at, 'epoch')) / 60)::integer as minute
        from added a, unnest(a.covered) as r,
             lateral generate_series(date_bin('1 minute', lower(r) + interval '1 minute' - interval '1 microsecond', 'epoch'),
                                     upper(r) - interval '1 microsecond', interval '1 minute') as m (at)
        union all
        select date_bin('15 minutes', lower(r), 'epoch'), 1, null from added a, unnest(a.covered) as r
    )
    select m.bucket, sum(m.joins)::bigint, array[
               count(*) filter (where m.minute = 0)::integer,
               count(*) filter (where m.minute = 1)::integer,
               count(*) filter (where m.minute = 2)::integer,
               count(*) filter (where m.minute = 3)::integer,
               count(*) filter (where m.minute = 4)::integer,
               count(*) filter (where m.minute = 5)::integer,
               count(*) filter (where m.minute = 6)::integer,
               count(*) filter (where m.minute = 7)::integer,
               count(*) filter (where m.minute = 8)::integer,
               count(*) filter (where m.minute = 9)::integer,
               count(*) filter (where m.minute = 10)::integer,
               count(*) filter (where m.minute = 11)::integer,
               count(*) filter (where m.minute = 12)::integer,
               count(*) filter (where m.minute = 13)::integer,
               count(*) filter (where m.minute = 14)::integer]
    from minute m group by m.bucket
$$;

comment on function rollcall.open_minutes(uuid[], timestamptz, timestamptz) is
    'Internal: what open connections add to usage_15m: pieces that begin in the quarter, and participants at each full minute.';
