-- Length of a set of time in seconds, exact to the microsecond (numeric, never floating point). Not in SQL: Postgres plans such
-- a function anew for every statement that calls it, which takes longer than the statement.
create or replace function rollcall.coverage_seconds(p_coverage tstzmultirange) returns numeric
    language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return (select coalesce(sum(extract(epoch from upper(r) - lower(r))), 0) from unnest(p_coverage) as r);
end
$$;

comment on function rollcall.coverage_seconds(tstzmultirange) is 'Length of a set of time in seconds; 0 for null and for the empty set.';
