-- Who has left stays left until the next join: the clean-up may have ended the session in the meantime.
update rollcall.participants p
set status = case when p.status = 'left' or f.left_at is not null then 'left' else coalesce(f.status, p.status) end,
    left_at = case when p.status = 'left' then p.left_at else f.left_at end,
    leave_reason = case when p.status = 'left' then p.leave_reason else f.leave_reason end,
    kicked_at = coalesce(p.kicked_at, f.kicked_at),
    state = coalesce(f.state::jsonb, p.state),
    last_seen_at = greatest(p.last_seen_at, f.seen_at)
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::timestamptz[],
            $8::timestamptz[])
    as f (session_id, participant_id, state, status, left_at, leave_reason, kicked_at, seen_at)
where p.session_id = f.session_id and p.participant_id = f.participant_id
