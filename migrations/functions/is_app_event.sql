-- What an app may write into the trail: names of its own under app., and a few that every billing department knows.
-- migrations/README.md lists them.
create or replace function rollcall.is_app_event(p_event_type text) returns boolean
    language sql immutable parallel safe
begin atomic
    select p_event_type ~ '^app\.[a-z0-9_.]{1,60}$'
        or p_event_type in ('note', 'consent_given', 'consent_withdrawn', 'recording_started', 'recording_stopped',
                            'dispute_opened', 'dispute_resolved');
end;

comment on function rollcall.is_app_event(text) is
    'Whether log_session_event takes this type: app.<name>, note, consent_given, consent_withdrawn, recording_started, recording_stopped, dispute_opened, dispute_resolved.';
