select i.invite_id, i.tenant_id, i.session_id, i.token_hash, i.role, i.identity, i.name, i.not_before, i.expires_at,
       i.max_uses, i.uses, i.revoked_at
from rollcall.invites i
join rollcall.sessions s using (session_id)
where s.status = 'active' and i.expires_at >= $2 and ($1::uuid is null or i.invite_id > $1)
order by i.invite_id
limit $3
