update rollcall.sessions s
set status = 'ended', ended_at = f.ended_at, end_reason = f.end_reason, version = s.version + 1
from unnest($1::uuid[], $2::timestamptz[], $3::text[]) as f (session_id, ended_at, end_reason)
where s.session_id = f.session_id and s.status = 'active'
returning s.session_id
