-- Tamper evidence: a leaf hash on every record, a chain of batches in every epoch, checkpoints over all chains.
-- docs/AUDIT.md explains the scheme and what it cannot see.

do $$
begin
    if exists (select from rollcall.session_audit_log) or exists (select from rollcall.evidence_marks) then
        raise exception 'this database has records from before the first release, which have no leaf hashes'
            using hint = 'Start with an empty database: drop schema rollcall cascade, or remove the data folder of dev.';
    end if;
end
$$;

-- Refuses UPDATE, DELETE and TRUNCATE, also for replication ("set session_replication_role = replica").
create function rollcall.make_append_only(p_table regclass) returns void
    language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_name text := (select c.relname from pg_catalog.pg_class c where c.oid = p_table);
begin
    execute format('create trigger %I before update or delete on %s for each row execute function rollcall.deny_change()',
                   v_name || '_append_only', p_table);
    execute format('create trigger %I before truncate on %s for each statement execute function rollcall.deny_change()',
                   v_name || '_no_truncate', p_table);
    execute format('alter table %s enable always trigger %I, enable always trigger %I',
                   p_table, v_name || '_append_only', v_name || '_no_truncate');
end
$$;
comment on function rollcall.make_append_only(regclass) is
    'Gives a table the triggers that refuse every change of its rows.';

alter table rollcall.session_audit_log
    add column leaf bytea not null constraint session_audit_log_leaf_length check (length(leaf) = 32);
alter table rollcall.evidence_marks
    add column leaf bytea not null constraint evidence_marks_leaf_length check (length(leaf) = 32);
alter table rollcall.refused_records
    add column leaf bytea not null constraint refused_records_leaf_length check (length(leaf) = 32);
comment on column rollcall.session_audit_log.leaf is
    'SHA-256 over all columns but recorded_at, as rollcall.audit_leaf() computes it; a leaf of the batch''s Merkle tree.';
comment on column rollcall.evidence_marks.leaf is 'Leaf of the batch''s Merkle tree: rollcall.audit_mark_leaf().';
comment on column rollcall.refused_records.leaf is 'Leaf of the batch''s Merkle tree: rollcall.audit_refused_leaf().';

-- The trail of a tenant, page by page.
create index session_audit_log_tenant_idx on rollcall.session_audit_log (tenant_id, occurred_at);

create table rollcall.audit_batches (
    epoch bigint not null,
    first_seq bigint not null,
    last_seq bigint not null,
    records integer not null,
    root bytea not null,
    prev_hash bytea not null,
    hash bytea not null,
    committed_at timestamptz not null,
    constraint audit_batches_pkey primary key (epoch, first_seq),
    constraint audit_batches_last_seq_key unique (epoch, last_seq),
    constraint audit_batches_counts check (first_seq > 0 and records = last_seq - first_seq + 1 and records > 0),
    constraint audit_batches_hash_lengths check (length(root) = 32 and length(prev_hash) = 32 and length(hash) = 32)
);
create index audit_batches_committed_idx on rollcall.audit_batches using brin (committed_at);
comment on table rollcall.audit_batches is
    'One row per batch of records, written in the transaction that brings them. Each takes up the hash of the one before in its epoch.';
comment on column rollcall.audit_batches.root is 'RFC 6962 Merkle root over the leaves of records first_seq to last_seq.';
comment on column rollcall.audit_batches.prev_hash is 'hash of the batch before; 32 zero bytes for the first of an epoch.';
comment on column rollcall.audit_batches.hash is 'rollcall.audit_batch_hash(): everything in the epoch up to last_seq hangs on it.';
select rollcall.make_append_only('rollcall.audit_batches');

create table rollcall.audit_log_identity (
    log_id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default clock_timestamp(),
    constraint audit_log_identity_pkey primary key (log_id)
);
create unique index audit_log_identity_one_row on rollcall.audit_log_identity ((true));
insert into rollcall.audit_log_identity default values;
comment on table rollcall.audit_log_identity is 'One row: the name of this log in its checkpoints.';
select rollcall.make_append_only('rollcall.audit_log_identity');

create table rollcall.audit_checkpoints (
    incarnation integer not null,
    size bigint not null,
    created_at timestamptz not null,
    prior_root bytea,
    leaf bytea not null,
    root bytea not null,
    subtrees bytea[] not null,
    note text not null,
    constraint audit_checkpoints_pkey primary key (incarnation, size),
    constraint audit_checkpoints_positive check (incarnation > 0 and size > 0),
    constraint audit_checkpoints_hash_lengths check (length(leaf) = 32 and length(root) = 32 and length(prior_root) = 32)
);
comment on table rollcall.audit_checkpoints is
    'The log of checkpoints, one leaf each, as it is also written outside the database. What hangs on a checkpoint cannot be changed without it showing.';
comment on column rollcall.audit_checkpoints.incarnation is
    'Goes up when the database was put back to an earlier point than a node has seen: the log forks there, and the fork is on record.';
comment on column rollcall.audit_checkpoints.size is 'The place of the checkpoint in its incarnation, counted from 1.';
comment on column rollcall.audit_checkpoints.prior_root is
    'In the first checkpoint of a later incarnation: the root that a node last saw of the one before.';
comment on column rollcall.audit_checkpoints.leaf is 'rollcall.audit_checkpoint_leaf() over the heads in audit_checkpoint_heads.';
comment on column rollcall.audit_checkpoints.root is 'RFC 6962 Merkle root over the leaves of checkpoints 1 to size.';
comment on column rollcall.audit_checkpoints.subtrees is 'Roots of the complete subtrees, largest first, so that the next leaf is cheap.';
comment on column rollcall.audit_checkpoints.note is 'The signed note, as it stands outside the database (C2SP tlog-checkpoint).';
select rollcall.make_append_only('rollcall.audit_checkpoints');

create table rollcall.audit_checkpoint_heads (
    incarnation integer not null,
    size bigint not null,
    epoch bigint not null,
    last_seq bigint not null,
    hash bytea not null,
    constraint audit_checkpoint_heads_pkey primary key (incarnation, size, epoch),
    constraint audit_checkpoint_heads_hash_length check (length(hash) = 32)
);
create index audit_checkpoint_heads_epoch_idx on rollcall.audit_checkpoint_heads (epoch, last_seq);
comment on table rollcall.audit_checkpoint_heads is
    'What each checkpoint commits to: the newest batch of every epoch that moved since the checkpoint before.';
comment on column rollcall.audit_checkpoint_heads.hash is 'audit_batches.hash of the batch that ends with last_seq.';
select rollcall.make_append_only('rollcall.audit_checkpoint_heads');

create table rollcall.audit_detached (
    partition_name text not null,
    epoch bigint not null,
    seqs int8multirange not null,
    records bigint not null,
    from_at timestamptz not null,
    to_at timestamptz not null,
    detached_at timestamptz not null default clock_timestamp(),
    constraint audit_detached_pkey primary key (partition_name, epoch)
);
comment on table rollcall.audit_detached is
    'Which records left the audit log with a detached partition, so that a missing record can be told from a retired one.';
comment on column rollcall.audit_detached.seqs is 'The numbers that the partition holds of this epoch.';
select rollcall.make_append_only('rollcall.audit_detached');
