-- How long two participants were connected at the same time.
create or replace function rollcall.time_together(p_session_id uuid, p_a uuid, p_b uuid, out together_seconds numeric)
    language sql stable set search_path = pg_catalog, pg_temp as $$
    select rollcall.coverage_seconds(
        rollcall.coverage_of(p_session_id, p_a, true) * rollcall.coverage_of(p_session_id, p_b, true))
$$;

comment on function rollcall.time_together(uuid, uuid, uuid) is
    'Seconds in which both participants were connected; 0 if they never met.';
