-- The lock makes uses queue. The session is not locked: it may end right after this, and then it refuses the join itself.
select s.status = 'ended' as "session_ended!",
       i.revoked_at is not null as "revoked!",
       i.expires_at <= $2 as "expired!",
       coalesce(i.not_before > $2, false) as "early!",
       coalesce(i.uses >= i.max_uses, false) as "used_up!"
from rollcall.invites i
join rollcall.sessions s using (session_id)
where i.invite_id = $1
for no key update of i
