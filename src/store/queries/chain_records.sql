-- Everything that hangs on the chains, in one order: an epoch, then its batches, each before its records.
select r.rank as "rank!", r.epoch as "epoch!", r.seq as "seq!", r.at, r.tenant_id, r.session_id, r.participant_id, r.connection,
       r.word, r.actor, r.metadata, r.body, r.recorded_at, r.last_seq, r.connections, r.root, r.prev_hash, r.hash
from (
    select 0 as rank, n.epoch, 0::bigint as seq, null::timestamptz as at, null::uuid as tenant_id, null::uuid as session_id,
           null::uuid as participant_id, null::text as connection, n.state as word, n.node_name as actor, null::text as metadata,
           null::bytea as body, null::timestamptz as recorded_at, n.applied_seq as last_seq, null::integer as connections,
           null::bytea as root, null::bytea as prev_hash, null::bytea as hash
    from rollcall.node_epochs n where $1::bigint is null or n.epoch = $1
    union all
    select 1, b.epoch, b.first_seq, b.committed_at, null, null, null, null, null, null, null, null, null, b.last_seq, b.records,
           b.root, b.prev_hash, b.hash
    from rollcall.audit_batches b where $1::bigint is null or b.epoch = $1
    union all
    select 2, a.epoch, a.seq, a.occurred_at, a.tenant_id, a.session_id, a.participant_id, a.connection, a.event_type, a.actor,
           a.metadata::text, null, a.recorded_at, null, null, null, null, a.leaf
    from rollcall.audit_log_all a where $1::bigint is null or a.epoch = $1
    union all
    select 3, m.epoch, m.seq, m.marked_at, null, null, null, null, null, null, null, null, null, null, m.connections, null, null,
           m.leaf
    from rollcall.evidence_marks m where $1::bigint is null or m.epoch = $1
    union all
    select 4, f.epoch, f.seq, f.refused_at, null, null, null, null, f.error, null, null, f.body, null, null, null, null, null,
           f.leaf
    from rollcall.refused_records f where $1::bigint is null or f.epoch = $1
) r
order by r.epoch, r.seq, r.rank
