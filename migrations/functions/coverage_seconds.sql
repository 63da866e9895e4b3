-- Length of a set of time in seconds, exact to the microsecond (numeric, never floating point).
create or replace function rollcall.coverage_seconds(p_coverage tstzmultirange) returns numeric
    language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select coalesce(sum(extract(epoch from upper(r) - lower(r))), 0) from unnest(p_coverage) as r
$$;

comment on function rollcall.coverage_seconds(tstzmultirange) is 'Length of a set of time in seconds; 0 for null and for the empty set.';
