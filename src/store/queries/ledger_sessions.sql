update rollcall.sessions s
set last_seen_at = greatest(s.last_seen_at, f.seen_at),
    last_activity_at = greatest(s.last_activity_at, f.activity_at),
    started_at = coalesce(s.started_at, f.started_at)
from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[])
    as f (session_id, seen_at, activity_at, started_at)
where s.session_id = f.session_id
  and (s.last_seen_at < f.seen_at or s.last_activity_at < f.activity_at
       or (s.started_at is null and f.started_at is not null))
