insert into rollcall.participant_pii as p (session_id, participant_id, tenant_id, name, updated_at)
select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[])
on conflict (session_id, participant_id) do update
set name = excluded.name, updated_at = excluded.updated_at
