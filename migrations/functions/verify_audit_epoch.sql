-- One epoch: the chain of its batches, the records of each batch, and the end of the chain.
create or replace function rollcall.verify_audit_records(
    p_epoch bigint, p_first_seq bigint, p_last_seq bigint, p_root bytea, p_batch text
) returns table (severity text, epoch bigint, seq bigint, problem text)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_leaves bytea;
    v_count bigint;
    v_numbers bigint;
    v_altered bigint;
    v_retired int8multirange;
begin
    select string_agg(l.leaf, '' order by l.seq), count(*), count(distinct l.seq),
           count(*) filter (where l.leaf <> l.expected)
    into v_leaves, v_count, v_numbers, v_altered
    from rollcall.audit_leaves(p_epoch, p_first_seq, p_last_seq) l;
    if v_altered > 0 then
        return query
            select 'error', p_epoch, l.seq, 'the record was altered: its leaf hash is not that of its columns'
            from rollcall.audit_leaves(p_epoch, p_first_seq, p_last_seq) l where l.leaf <> l.expected order by l.seq;
    end if;
    if v_count > v_numbers then
        return query
            select 'error', p_epoch, l.seq, format('the number is there %s times', count(*))
            from rollcall.audit_leaves(p_epoch, p_first_seq, p_last_seq) l group by l.seq having count(*) > 1 order by l.seq;
    end if;
    if v_numbers < p_last_seq - p_first_seq + 1 then
        select coalesce(range_agg(r), '{}') into v_retired
        from rollcall.audit_detached d, unnest(d.seqs) r where d.epoch = p_epoch;
        return query
            select case when n.seq <@ v_retired then 'info' else 'error' end, p_epoch, min(n.seq),
                   case when n.seq <@ v_retired then format('%s record(s) up to %s left with a detached partition', count(*), max(n.seq))
                        when count(*) = 1 then 'the record is missing'
                        else format('%s records up to %s are missing', count(*), max(n.seq)) end
            from (select g.seq, g.seq - row_number() over (partition by g.seq <@ v_retired order by g.seq) as island
                  from generate_series(p_first_seq, p_last_seq) as g (seq)
                  where not exists (select from rollcall.audit_leaves(p_epoch, g.seq, g.seq))) n
            group by n.seq <@ v_retired, n.island order by 3;
    elsif p_root is not null and v_count = v_numbers and rollcall.merkle_root(v_leaves) <> p_root then
        -- Each leaf fits its record, yet not the root: one was replaced together with its leaf.
        severity := 'error';
        epoch := p_epoch;
        seq := p_first_seq;
        problem := format('%s does not have the root of its records: one of them was replaced together with its leaf hash', p_batch);
        return next;
    end if;
end
$$;

comment on function rollcall.verify_audit_records(bigint, bigint, bigint, bytea, text) is
    'Internal: checks the records of one batch, or of the unsealed end of the control epoch when p_root is null.';

create or replace function rollcall.verify_audit_epoch(p_epoch bigint, p_since timestamptz default null)
    returns table (severity text, epoch bigint, seq bigint, problem text)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_batch rollcall.audit_batches;
    v_sealed bigint := 0;
    v_hash bytea := decode(repeat('00', 32), 'hex');
    v_applied bigint := (select n.applied_seq from rollcall.node_epochs n where n.epoch = p_epoch);
    v_name text;
begin
    severity := 'error';
    epoch := p_epoch;
    if p_since is not null then
        select b.last_seq, b.hash into v_sealed, v_hash from rollcall.audit_batches b
        where b.epoch = p_epoch and b.committed_at < p_since order by b.first_seq desc limit 1;
        v_sealed := coalesce(v_sealed, 0);
        v_hash := coalesce(v_hash, decode(repeat('00', 32), 'hex'));
    end if;
    if v_applied is null then
        seq := null;
        problem := 'there are records or batches of this epoch, but node_epochs does not know it';
        return next;
    end if;
    for v_batch in
        select b.* from rollcall.audit_batches b where b.epoch = p_epoch and b.first_seq > v_sealed order by b.first_seq
    loop
        v_name := format('batch %s to %s', v_batch.first_seq, v_batch.last_seq);
        seq := v_batch.first_seq;
        if v_batch.first_seq <> v_sealed + 1 then
            problem := format('the chain is broken before %s: it should go on with record %s', v_name, v_sealed + 1);
            return next;
            return query select * from rollcall.verify_audit_records(p_epoch, v_sealed + 1, v_batch.first_seq - 1, null, null);
        elsif v_batch.prev_hash <> v_hash then
            problem := format('%s does not continue the batch before: that one or this one was changed', v_name);
            return next;
        end if;
        if v_batch.hash <> rollcall.audit_batch_hash(v_batch.prev_hash, v_batch.root, v_batch.epoch, v_batch.first_seq,
                                                     v_batch.last_seq, v_batch.committed_at)
           or v_batch.records <> v_batch.last_seq - v_batch.first_seq + 1 then
            problem := format('%s was changed: its hash is not that of its columns', v_name);
            return next;
        end if;
        return query select * from rollcall.verify_audit_records(p_epoch, v_batch.first_seq, v_batch.last_seq, v_batch.root, v_name);
        v_sealed := v_batch.last_seq;
        v_hash := v_batch.hash;
    end loop;
    seq := v_sealed + 1;
    -- The control plane is sealed a little later than it is written; its records are complete all the same.
    if v_applied > v_sealed and p_epoch = 0 then
        return query select * from rollcall.verify_audit_records(0, v_sealed + 1, v_applied, null, null);
    elsif v_applied > v_sealed then
        problem := format('the end is cut off: %s records were applied, but the chain ends with %s', v_applied, v_sealed);
        return next;
    elsif v_applied < v_sealed then
        problem := format('node_epochs was set back: it says %s records were applied, but the chain ends with %s', v_applied, v_sealed);
        return next;
    end if;
    return query
        select 'error', p_epoch, l.seq, 'the record was added behind the end of the chain'
        from rollcall.audit_leaves(p_epoch, greatest(v_applied, v_sealed) + 1, 9223372036854775807) l order by l.seq;
end
$$;

comment on function rollcall.verify_audit_epoch(bigint, timestamptz) is
    'Checks the chain and the records of one epoch, or of its batches since p_since; one row per problem.';
