select s.session_id, s.tenant_id, s.title, s.idle_timeout_s, s.max_participants, s.warn_before_s, s.created_at,
       s.started_at, s.ended_at, s.end_reason, s.last_activity_at, s.hold_until, s.expires_at, t.identity_salt,
       array(select p.participant_id from rollcall.participants p
             where p.session_id = s.session_id and p.kicked_at is not null order by p.participant_id) as "kicked!"
from rollcall.sessions s
join rollcall.tenants t using (tenant_id)
where s.session_id = any ($1)
order by s.session_id
