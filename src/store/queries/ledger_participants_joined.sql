insert into rollcall.participants as p
    (session_id, participant_id, tenant_id, identity, identity_verified, role, invite_id, state, status,
     first_joined_at, joined_at, last_seen_at, left_at, leave_reason, kicked_at)
select f.session_id, f.participant_id, f.tenant_id, f.identity, f.identity_verified, f.role, f.invite_id,
       f.state::jsonb, f.status, f.first_joined_at, f.joined_at, f.last_seen_at, f.left_at, f.leave_reason, f.kicked_at
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::boolean[], $6::text[], $7::uuid[], $8::text[],
            $9::text[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[], $14::text[],
            $15::timestamptz[])
    as f (session_id, participant_id, tenant_id, identity, identity_verified, role, invite_id, state, status,
          first_joined_at, joined_at, last_seen_at, left_at, leave_reason, kicked_at)
on conflict (session_id, participant_id) do update
set role = excluded.role,
    invite_id = excluded.invite_id,
    state = excluded.state,
    status = excluded.status,
    joined_at = excluded.joined_at,
    last_seen_at = greatest(p.last_seen_at, excluded.last_seen_at),
    left_at = excluded.left_at,
    leave_reason = excluded.leave_reason,
    kicked_at = coalesce(p.kicked_at, excluded.kicked_at)
