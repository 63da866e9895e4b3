-- The Merkle tree of RFC 6962: 0x01 before two nodes. A node that is left over moves up as it is. A level is one string of
-- hashes: arrays of them take a third longer, and every flush waits for this.
drop function if exists rollcall.merkle_root(bytea[]);

create or replace function rollcall.merkle_root(p_leaves bytea) returns bytea
    language plpgsql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_level bytea := p_leaves;
    v_nodes integer := length(p_leaves) / 32;
begin
    if length(p_leaves) % 32 <> 0 then
        raise exception 'the leaf hashes take % bytes, which is not a multiple of 32', length(p_leaves)
            using errcode = 'invalid_parameter_value',
                  hint = 'Give them one after the other: string_agg(leaf, '''' order by seq).';
    end if;
    while v_nodes > 1 loop
        select string_agg(sha256('\x01'::bytea || substring(v_level from 64 * p.pair + 1 for 64)), '' order by p.pair)
               || substring(v_level from 64 * (v_nodes / 2) + 1)
        into v_level
        from generate_series(0, v_nodes / 2 - 1) as p (pair);
        v_nodes := (v_nodes + 1) / 2;
    end loop;
    return case when v_nodes = 0 then sha256('') else v_level end;
end
$$;

comment on function rollcall.merkle_root(bytea) is 'RFC 6962 Merkle root over leaf hashes of 32 bytes, one after the other.';

create or replace function rollcall.audit_batch_hash(
    p_prev_hash bytea, p_root bytea, p_epoch bigint, p_first_seq bigint, p_last_seq bigint, p_committed_at timestamptz
) returns bytea
    language sql immutable parallel safe
    return sha256('\x0201'::bytea || p_prev_hash || p_root || int8send(p_epoch) || int8send(p_first_seq)
                  || int8send(p_last_seq) || timestamptz_send(p_committed_at));

comment on function rollcall.audit_batch_hash(bytea, bytea, bigint, bigint, bigint, timestamptz) is
    'The hash of a batch: SHA-256 over 0x02, version 1, the hash before, root, epoch, first and last number, and the time.';
