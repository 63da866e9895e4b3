-- Keeps last_seen_at of sessions and participants in step with the audit log, and never lets it run backwards.
-- Events written by SQL and by the control plane rely on it. The flusher has raised both already in the same transaction, with
-- its sessions locked, and says so: to find nothing newer among its thousands of rows took a twentieth of its time.
create or replace function rollcall.touch_last_seen() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('rollcall.last_seen_is_raised', true) = 'on' then
        return null;
    end if;
    update rollcall.sessions s
    set last_seen_at = seen.at
    from (select session_id, max(occurred_at) as at from inserted
          where session_id is not null and not rollcall.is_passive_event(event_type)
          group by session_id) seen
    where s.session_id = seen.session_id and s.last_seen_at < seen.at;

    update rollcall.participants p
    set last_seen_at = seen.at
    from (select session_id, participant_id, max(occurred_at) as at from inserted
          where session_id is not null and participant_id is not null and not rollcall.is_passive_event(event_type)
          group by session_id, participant_id) seen
    where p.session_id = seen.session_id and p.participant_id = seen.participant_id and p.last_seen_at < seen.at;
    return null;
end
$$;

comment on function rollcall.touch_last_seen() is
    'Trigger: raises sessions.last_seen_at and participants.last_seen_at to the newest event, only where newer.';

do $$
begin
    if not exists (select from pg_catalog.pg_trigger
                   where tgrelid = 'rollcall.session_audit_log'::regclass and tgname = 'session_audit_log_touch') then
        create trigger session_audit_log_touch after insert on rollcall.session_audit_log
            referencing new table as inserted
            for each statement execute function rollcall.touch_last_seen();
        alter table rollcall.session_audit_log enable always trigger session_audit_log_touch;
    end if;
end
$$;
