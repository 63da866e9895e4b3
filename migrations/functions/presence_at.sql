-- Who was connected at an instant. An open span proves presence up to its last evidence only; behind it the participant
-- is listed as not proven.
create or replace function rollcall.presence_at(p_session_id uuid, p_at timestamptz)
    returns table (participant_id uuid, identity text, role text, connections bigint, connected_at timestamptz,
                   is_proven boolean)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    perform rollcall.check_session(p_session_id);
    return query
    select s.participant_id, min(p.identity), min(s.role), count(*), min(s.connected_at),
           bool_or(p_at < coalesce(s.disconnected_at, s.last_evidence_at))
    from rollcall.participation_spans s
    left join rollcall.participants p on p.session_id = s.session_id and p.participant_id = s.participant_id
    where s.session_id = p_session_id and s.connected_at <= p_at
      and (s.disconnected_at is null or p_at < s.disconnected_at)
      and p_at <= statement_timestamp()
    group by s.participant_id
    order by min(s.connected_at), s.participant_id;
end
$$;

comment on function rollcall.presence_at(uuid, timestamptz) is
    'The participants with an open connection at p_at; is_proven is false behind the last evidence of a still open connection.';
