-- When a participant was there: the union of all its spans in the session, the open one up to its last evidence if asked.
create or replace function rollcall.coverage_of(
    p_session_id uuid, p_participant_id uuid, p_with_open boolean default false
) returns tstzmultirange
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select coalesce(range_agg(tstzrange(s.connected_at,
                                            coalesce(s.disconnected_at, greatest(s.last_evidence_at, s.connected_at)))), '{}')
        from rollcall.participation_spans s
        where s.session_id = p_session_id and s.participant_id = p_participant_id
          and (p_with_open or s.disconnected_at is not null));
end
$$;

comment on function rollcall.coverage_of(uuid, uuid, boolean) is
    'The union of the spans of a participant in a session; open ones up to their last evidence if p_with_open.';
