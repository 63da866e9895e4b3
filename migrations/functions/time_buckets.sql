-- Cuts [p_from, p_to) at the hours, days, weeks or months of a time zone, without gap or overlap: each bucket ends where
-- the next one starts, the first starts at p_from and the last ends at p_to. label is the local time by which a bucket
-- is called; for days no two buckets have the same.
--
-- A day starts when its midnight strikes first: Havana's clocks go back from 01:00 to 00:00, and both hours belong to the
-- new day. An hour that strikes twice is two hours. A day or hour that the clocks skip has no bucket.
create or replace function rollcall.time_buckets(p_bucket text, p_tz text, p_from timestamptz, p_to timestamptz)
    returns table (label timestamp, lower_at timestamptz, upper_at timestamptz)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    return query
    with bound as (
        -- "at time zone" takes the last of two midnights. A day of real time before it, the local clock was ahead by as
        -- much as the clocks went back since; so much earlier it was midnight for the first time, if it was.
        select l.label,
               case when (last.at - back.shift) at time zone p_tz = l.label then last.at - back.shift else last.at end as at
        from generate_series(date_trunc(p_bucket, p_from at time zone p_tz), (p_to at time zone p_tz) + interval '1 day',
                             ('1 ' || p_bucket)::interval) as l (label),
             lateral (select l.label at time zone p_tz as at) last,
             lateral (select greatest(
                 ((last.at - interval '24 hours') at time zone p_tz) - (l.label - interval '24 hours'), interval '0') as shift) back
        where p_bucket <> 'hour'
        union all
        -- Hours are cut on the clock of their own offset: once more truncated where an offset is no full hour.
        select h.at at time zone p_tz, h.at
        from (select distinct date_trunc('hour', date_trunc('hour', p_from, p_tz) + n * interval '1 hour', p_tz) as at
              from generate_series(0, ceil(extract(epoch from p_to - p_from) / 3600)::integer + 2) as n
              where p_bucket = 'hour') h
    ), cut as (
        select b.label,
               case when row_number() over w = 1 then p_from else greatest(b.at, p_from) end as lower_at,
               least(greatest(coalesce(lead(b.at) over w, p_to), p_from), p_to) as upper_at
        from bound b
        window w as (order by b.at, b.label)
    )
    select c.label, c.lower_at, c.upper_at from cut c where c.lower_at < c.upper_at;
end
$$;

comment on function rollcall.time_buckets(text, text, timestamptz, timestamptz) is
    'Internal: cuts [p_from, p_to) at the hours, days, weeks or months of a time zone, without gap or overlap.';
