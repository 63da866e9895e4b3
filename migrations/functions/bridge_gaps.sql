-- Closes the gaps of a set of time that are no longer than the grace: each range reaches forward by the grace, what then
-- touches becomes one, and the reach is taken back.
create or replace function rollcall.bridge_gaps(p_covered tstzmultirange, p_grace interval) returns tstzmultirange
    language plpgsql stable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    if p_grace > interval '0' then
        return (
            select coalesce(range_agg(tstzrange(lower(w), upper(w) - p_grace)), '{}')
            from (select range_agg(tstzrange(lower(r), upper(r) + p_grace)) as wide from unnest(p_covered) as r) x,
                 unnest(x.wide) as w);
    end if;
    return p_covered;
end
$$;

comment on function rollcall.bridge_gaps(tstzmultirange, interval) is
    'A set of time with its gaps up to p_grace closed; what follows the last range is not touched.';
