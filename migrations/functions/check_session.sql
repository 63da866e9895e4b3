-- Refuses a session that does not exist: no rows for a mistyped id would read like "nobody was there".
create or replace function rollcall.check_session(p_session_id uuid) returns void
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    perform from rollcall.sessions s where s.session_id = p_session_id;
    if not found then
        raise exception 'unknown session %', coalesce(p_session_id::text, 'null')
            using errcode = 'no_data_found', hint = 'Look it up in rollcall.sessions.';
    end if;
end
$$;

comment on function rollcall.check_session(uuid) is 'Internal: refuses a session that does not exist.';
