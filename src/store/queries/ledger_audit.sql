insert into rollcall.session_audit_log
    (occurred_at, epoch, seq, tenant_id, session_id, participant_id, connection, event_type, actor, metadata, leaf)
select f.occurred_at, $1, f.seq, f.tenant_id, f.session_id, f.participant_id, f.connection, f.event_type, f.actor,
       f.metadata::jsonb, f.leaf
from unnest($2::timestamptz[], $3::bigint[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::bytea[])
    as f (occurred_at, seq, tenant_id, session_id, participant_id, connection, event_type, actor, metadata, leaf)
