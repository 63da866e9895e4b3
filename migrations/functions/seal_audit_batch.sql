-- Closes a batch: computes the root over the leaves as they are stored, compares it with the root of whoever brought the
-- records, and continues the chain of the epoch. Called last in the transaction of the batch, under the lock of the
-- epoch's row, so that nobody else continues the same chain. p_from and p_to bound occurred_at, so that only the partitions
-- concerned are read.
create or replace function rollcall.seal_audit_batch(
    p_epoch bigint,
    p_first_seq bigint,
    p_last_seq bigint,
    p_root bytea default null,
    p_from timestamptz default '-infinity',
    p_to timestamptz default 'infinity'
) returns bytea
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_count bigint;
    v_leaves bytea;
    v_root bytea;
    v_last_seq bigint;
    v_prev_hash bytea;
    v_now timestamptz := clock_timestamp();
    v_hash bytea;
begin
    select count(*), string_agg(l.leaf, '' order by l.seq) into v_count, v_leaves from (
        select a.seq, a.leaf from rollcall.session_audit_log a
        where a.epoch = p_epoch and a.seq between p_first_seq and p_last_seq and a.occurred_at between p_from and p_to
        union all
        select m.seq, m.leaf from rollcall.evidence_marks m where m.epoch = p_epoch and m.seq between p_first_seq and p_last_seq
        union all
        select r.seq, r.leaf from rollcall.refused_records r where r.epoch = p_epoch and r.seq between p_first_seq and p_last_seq
    ) l;
    if v_count <> p_last_seq - p_first_seq + 1 then
        raise exception 'records % to % of epoch % cannot be sealed: % of % are there', p_first_seq, p_last_seq, p_epoch,
                v_count, p_last_seq - p_first_seq + 1
            using errcode = 'object_not_in_prerequisite_state', hint = 'Records are numbered without gaps.';
    end if;
    v_root := rollcall.merkle_root(v_leaves);
    if p_root is not null and p_root <> v_root then
        raise exception 'records % to % of epoch % were changed on their way into the tables', p_first_seq, p_last_seq, p_epoch
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'The Merkle root over the stored leaves is not that of the server. Look for triggers on the ledger.';
    end if;
    select b.last_seq, b.hash into v_last_seq, v_prev_hash from rollcall.audit_batches b
    where b.epoch = p_epoch order by b.first_seq desc limit 1;
    -- Batches that somebody removed must not stop the ledger: the chain goes on behind the gap, and the verifier finds it.
    if p_first_seq <= v_last_seq then
        raise exception 'records up to % of epoch % are sealed already', v_last_seq, p_epoch
            using errcode = 'object_not_in_prerequisite_state', hint = 'Run: select * from rollcall.verify_audit_chain()';
    end if;
    v_prev_hash := coalesce(v_prev_hash, decode(repeat('00', 32), 'hex'));
    v_hash := rollcall.audit_batch_hash(v_prev_hash, v_root, p_epoch, p_first_seq, p_last_seq, v_now);
    insert into rollcall.audit_batches (epoch, first_seq, last_seq, records, root, prev_hash, hash, committed_at)
    values (p_epoch, p_first_seq, p_last_seq, p_last_seq - p_first_seq + 1, v_root, v_prev_hash, v_hash, v_now);
    return v_hash;
end
$$;

comment on function rollcall.seal_audit_batch(bigint, bigint, bigint, bytea, timestamptz, timestamptz) is
    'Internal: writes the batch row over records p_first_seq to p_last_seq of an epoch and returns its hash.';

-- The events of the control plane come one by one under the lock of row 0, and that lock should not be held longer than it
-- is. So they get their leaf at once and their batches from here, which the checkpointer calls.
create or replace function rollcall.seal_control_events(p_batch_records integer default 10000) returns bigint
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_applied bigint;
    v_sealed bigint;
    v_last bigint;
    v_count bigint := 0;
begin
    -- One sealer at a time; writers do not take this lock.
    perform pg_advisory_xact_lock(hashtext('rollcall.seal_control_events'));
    select n.applied_seq into strict v_applied from rollcall.node_epochs n where n.epoch = 0;
    select coalesce(max(b.last_seq), 0) into v_sealed from rollcall.audit_batches b where b.epoch = 0;
    while v_sealed < v_applied loop
        v_last := least(v_applied, v_sealed + p_batch_records);
        perform rollcall.seal_audit_batch(0, v_sealed + 1, v_last);
        v_count := v_count + v_last - v_sealed;
        v_sealed := v_last;
    end loop;
    return v_count;
end
$$;

comment on function rollcall.seal_control_events(integer) is
    'Writes batch rows over the events of the control plane that have none yet; returns how many events that were.';
