-- What open connections add to the quarters of usage_15m: for each participant the time up to the last evidence that its
-- closed spans do not cover already.
drop function if exists rollcall.open_minutes(uuid[], timestamptz, timestamptz);

create function rollcall.open_minutes(p_sessions uuid[], p_from timestamptz, p_to timestamptz)
    returns table (bucket timestamptz, covered_us bigint, joins bigint, present integer[])
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
    return query
    with added as (
        select tstzmultirange(tstzrange(p_from, p_to))
               * (range_agg(tstzrange(s.connected_at, greatest(s.last_evidence_at, s.connected_at)))
                      filter (where s.disconnected_at is null)
                  - coalesce(range_agg(tstzrange(s.connected_at, s.disconnected_at))
                                 filter (where s.disconnected_at is not null), '{}')) as covered
        from rollcall.participation_spans s where s.session_id = any (p_sessions)
        group by s.session_id, s.participant_id
    ), piece as (
        select b.bucket,
               rollcall.us_between(greatest(lower(r), b.bucket), least(upper(r), b.bucket + interval '15 minutes')) as us,
               (lower(r) >= b.bucket)::integer as joins,
               -- The full minutes of the quarter that lie in the piece.
               ceil(extract(epoch from greatest(lower(r), b.bucket) - b.bucket) / 60) as first_minute,
               ceil(extract(epoch from least(upper(r), b.bucket + interval '15 minutes') - b.bucket) / 60) - 1 as last_minute
        from added a, unnest(a.covered) as r,
             lateral generate_series(date_bin('15 minutes', lower(r), 'epoch'), upper(r) - interval '1 microsecond',
                                     interval '15 minutes') as b (bucket)
    )
    select p.bucket, sum(p.us)::bigint, sum(p.joins)::bigint, array[
               count(*) filter (where p.first_minute <= 0 and p.last_minute >= 0)::integer,
               count(*) filter (where p.first_minute <= 1 and p.last_minute >= 1)::integer,
               count(*) filter (where p.first_minute <= 2 and p.last_minute >= 2)::integer,
               count(*) filter (where p.first_minute <= 3 and p.last_minute >= 3)::integer,
               count(*) filter (where p.first_minute <= 4 and p.last_minute >= 4)::integer,
               count(*) filter (where p.first_minute <= 5 and p.last_minute >= 5)::integer,
               count(*) filter (where p.first_minute <= 6 and p.last_minute >= 6)::integer,
               count(*) filter (where p.first_minute <= 7 and p.last_minute >= 7)::integer,
               count(*) filter (where p.first_minute <= 8 and p.last_minute >= 8)::integer,
               count(*) filter (where p.first_minute <= 9 and p.last_minute >= 9)::integer,
               count(*) filter (where p.first_minute <= 10 and p.last_minute >= 10)::integer,
               count(*) filter (where p.first_minute <= 11 and p.last_minute >= 11)::integer,
               count(*) filter (where p.first_minute <= 12 and p.last_minute >= 12)::integer,
               count(*) filter (where p.first_minute <= 13 and p.last_minute >= 13)::integer,
               count(*) filter (where p.first_minute <= 14 and p.last_minute >= 14)::integer]
    from piece p group by p.bucket;
end
$$;

comment on function rollcall.open_minutes(uuid[], timestamptz, timestamptz) is
    'Internal: what open connections add to usage_15m: time, pieces that begin in the quarter, participants at each full minute.';
