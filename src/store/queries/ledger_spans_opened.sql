insert into rollcall.participation_spans
    (epoch, connection, session_id, tenant_id, participant_id, role, invite_id, connected_at, disconnected_at,
     last_evidence_at, end_reason, uncertainty_us, resumed_from)
select * from unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::uuid[],
                     $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::bigint[], $13::text[])
on conflict (epoch, connection) do nothing
