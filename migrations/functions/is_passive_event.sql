-- Events that time or the server brings about. They prove nobody's presence, so they do not count as "seen".
-- The same list is in src/store/ledger.rs; a test compares them.
create or replace function rollcall.is_passive_event(p_event_type text) returns boolean
    language sql immutable parallel safe
begin atomic
    select p_event_type in ('session_ended', 'session_end_superseded', 'session_warned', 'participant_left',
                            'presence_changed', 'invite_expired', 'invite_revoked', 'participant_erased');
end;

comment on function rollcall.is_passive_event(text) is
    'Whether an event is brought about by time or by the server and so proves nobody''s presence.';
