-- The Merkle tree of RFC 6962: 0x01 before two nodes. A node that is left over moves up as it is.
create or replace function rollcall.merkle_root(p_leaves bytea[]) returns bytea
    language plpgsql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    v_level bytea[] := p_leaves;
    v_next bytea[];
    v_left bytea;
    v_node bytea;
begin
    while cardinality(v_level) > 1 loop
        v_next := '{}';
        v_left := null;
        foreach v_node in array v_level loop
            if v_left is null then
                v_left := v_node;
            else
                v_next := v_next || sha256('\x01'::bytea || v_left || v_node);
                v_left := null;
            end if;
        end loop;
        if v_left is not null then
            v_next := v_next || v_left;
        end if;
        v_level := v_next;
    end loop;
    return coalesce(v_level[1], sha256(''::bytea));
end
$$;

comment on function rollcall.merkle_root(bytea[]) is 'RFC 6962 Merkle root over leaf hashes in their order.';

create or replace function rollcall.audit_batch_hash(
    p_prev_hash bytea, p_root bytea, p_epoch bigint, p_first_seq bigint, p_last_seq bigint, p_committed_at timestamptz
) returns bytea
    language sql immutable parallel safe
    return sha256('\x0201'::bytea || p_prev_hash || p_root || int8send(p_epoch) || int8send(p_first_seq)
                  || int8send(p_last_seq) || timestamptz_send(p_committed_at));

comment on function rollcall.audit_batch_hash(bytea, bytea, bigint, bigint, bigint, timestamptz) is
    'The hash of a batch: SHA-256 over 0x02, version 1, the hash before, root, epoch, first and last number, and the time.';
