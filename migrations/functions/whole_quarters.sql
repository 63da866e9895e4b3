-- Bounds, each moved to the beginning of its quarter of an hour. Those that fall together are one, and the buckets between them
-- empty: bucket n of the new bounds is bucket bucket_of[n] of the old ones.
create or replace function rollcall.whole_quarters(p_bounds timestamptz[], out bounds timestamptz[], out bucket_of integer[])
    language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    select array_agg(x.at order by x.at), array_agg(x.bucket order by x.at) into bounds, bucket_of
    from (select date_bin('15 minutes', b.at, 'epoch') as at, max(b.n)::integer as bucket
          from unnest(p_bounds) with ordinality as b (at, n) group by 1) x;
end
$$;

comment on function rollcall.whole_quarters(timestamptz[]) is 'Internal: bounds moved to the beginnings of their quarters of an hour.';
