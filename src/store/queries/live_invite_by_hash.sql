select invite_id, tenant_id, session_id, token_hash, role, identity, name, not_before, expires_at, max_uses, uses,
       revoked_at
from rollcall.invites
where token_hash = $1
