-- Keeps last_seen_at of sessions and participants in step with events that are written by SQL and by the control plane (epoch
-- 0), and never lets it run backwards. The flusher raises both itself, in the same transaction and with its sessions locked: a
-- trigger over a statement would have to keep all rows that it inserts, for nothing, and took an eighth of its time.
create or replace function rollcall.touch_last_seen() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    update rollcall.sessions s set last_seen_at = new.occurred_at
    where s.session_id = new.session_id and s.last_seen_at < new.occurred_at;
    update rollcall.participants p set last_seen_at = new.occurred_at
    where p.session_id = new.session_id and p.participant_id = new.participant_id and p.last_seen_at < new.occurred_at;
    return null;
end
$$;

comment on function rollcall.touch_last_seen() is
    'Trigger: raises sessions.last_seen_at and participants.last_seen_at to the new event, only where newer.';

-- In place of the trigger over statements that earlier versions had.
drop trigger if exists session_audit_log_touch on rollcall.session_audit_log;
create trigger session_audit_log_touch after insert on rollcall.session_audit_log
    for each row when (new.epoch = 0 and new.session_id is not null and not rollcall.is_passive_event(new.event_type))
    execute function rollcall.touch_last_seen();
alter table rollcall.session_audit_log enable always trigger session_audit_log_touch;
