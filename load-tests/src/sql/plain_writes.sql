-- The rows that the clean-up writes for sessions with an open connection each, as plainly as they can be written: with all
-- indexes and checks of the tables, without triggers, sums, hashes or a look at what is due.
update rollcall.sessions s set status = 'ended', ended_at = now(), end_reason = 'idle', version = s.version + 1
from idle i where s.session_id = i.session_id;

update rollcall.participants p set status = 'left', left_at = now(), leave_reason = 'session_ended'
from idle i where p.session_id = i.session_id and p.participant_id = i.participant_id;

update rollcall.participation_spans p
set disconnected_at = p.last_evidence_at, end_reason = 'session_ended', uncertainty_us = 1
from idle i where p.epoch = i.epoch and p.connection = i.connection;

insert into rollcall.session_audit_log
    (occurred_at, epoch, seq, tenant_id, session_id, event_type, actor, metadata, leaf)
select now(), i.epoch, i.connection, i.tenant_id, i.session_id, 'session_ended', 'server',
       '{"reason": "idle", "source": "cleanup", "spans_closed": 1}', sha256('')
from idle i;

insert into rollcall.participant_coverage
    (session_id, participant_id, day, tenant_id, first_day, first_at, last_at, covered, covered_us, connected_us,
     connections, connection_minutes, uncertainty_us, quarters)
select i.session_id, i.participant_id, current_date, i.tenant_id, current_date, now(), now(),
       tstzmultirange(tstzrange(now() - interval '30 minutes', now())), 1800000000, 1800000000, 1, 30, 1,
       tstzmultirange(tstzrange(now() - interval '30 minutes', now()))
from idle i;

insert into rollcall.session_usage_day
    (session_id, day, tenant_id, first_day, first_at, last_at, participants, covered_us, connections, connected_us,
     uncertainty_us, whole_seconds, connection_minutes, participant_minutes, quarters)
select i.session_id, current_date, i.tenant_id, current_date, now(), now(), 1, 1800000000, 1, 1800000000, 1, 1800, 30, 30,
       tstzmultirange(tstzrange(now() - interval '30 minutes', now()))
from idle i;
