-- The checkpoints as the database has them: each takes up those before it, and the chains still contain what each of them
-- saw. Signatures, and checkpoints that were removed here but exist outside, are for `rollcall audit verify`.
create or replace function rollcall.verify_audit_checkpoints(p_epoch bigint default null, p_since timestamptz default null)
    returns table (severity text, epoch bigint, seq bigint, problem text)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_point rollcall.audit_checkpoints;
    v_incarnation integer;
    v_size bigint;
    v_subtrees bytea[];
    v_node bytea;
    v_name text;
begin
    severity := 'error';
    for v_point in
        select c.* from rollcall.audit_checkpoints c
        where p_since is null or c.created_at >= p_since order by c.incarnation, c.size
    loop
        v_name := format('checkpoint %s/%s', v_point.incarnation, v_point.size);
        if v_incarnation is distinct from v_point.incarnation then
            v_incarnation := v_point.incarnation;
            v_size := v_point.size - 1;
            select c.subtrees into v_subtrees from rollcall.audit_checkpoints c
            where c.incarnation = v_point.incarnation and c.size = v_point.size - 1;
            if v_subtrees is null and v_size > 0 then
                problem := format('the checkpoints before %s are missing', v_name);
                return next;
            end if;
            v_subtrees := coalesce(v_subtrees, '{}');
        end if;
        if v_point.size <> v_size + 1 then
            problem := format('the checkpoints between %s and %s are missing', v_size, v_name);
            return next;
        end if;
        if v_point.leaf <> rollcall.audit_checkpoint_leaf(v_point.incarnation, v_point.size, v_point.created_at, v_point.prior_root) then
            problem := format('%s was changed: its leaf hash is not that of its heads', v_name);
            return next;
        end if;
        -- Adding a leaf to a tree joins as many complete subtrees as the size before has binary ones at its end.
        v_node := v_point.leaf;
        while v_size & 1 = 1 loop
            v_node := sha256('\x01'::bytea || v_subtrees[cardinality(v_subtrees)] || v_node);
            v_subtrees := trim_array(v_subtrees, 1);
            v_size := v_size >> 1;
        end loop;
        v_subtrees := v_subtrees || v_node;
        v_size := v_point.size;
        for i in reverse cardinality(v_subtrees) - 1 .. 1 loop
            v_node := sha256('\x01'::bytea || v_subtrees[i] || v_node);
        end loop;
        if v_point.root <> v_node or v_point.subtrees <> v_subtrees then
            problem := format('%s does not take up the checkpoints before it: one of them was changed or removed', v_name);
            return next;
            v_subtrees := v_point.subtrees;
        end if;
        if split_part(v_point.note, e'\n', 2) <> v_point.size::text
           or split_part(v_point.note, e'\n', 3) <> encode(v_point.root, 'base64') then
            problem := format('the note of %s does not say what its row says', v_name);
            return next;
        end if;
    end loop;
    return query
        select distinct on (h.epoch, b.epoch is null) 'error', h.epoch, h.last_seq,
               case when b.epoch is null
                    then format('checkpoint %s/%s of %s saw this epoch up to record %s, and there is no batch that ends there: records were cut off or rewritten',
                                h.incarnation, h.size, to_char(c.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), h.last_seq)
                    else format('the chain up to record %s is not the one that checkpoint %s/%s saw: it was rewritten', h.last_seq, h.incarnation, h.size) end
        from rollcall.audit_checkpoint_heads h
        join rollcall.audit_checkpoints c using (incarnation, size)
        left join rollcall.audit_batches b on b.epoch = h.epoch and b.last_seq = h.last_seq
        where (p_epoch is null or h.epoch = p_epoch) and (p_since is null or c.created_at >= p_since)
          and b.hash is distinct from h.hash
        order by h.epoch, b.epoch is null, h.last_seq;
end
$$;

comment on function rollcall.verify_audit_checkpoints(bigint, timestamptz) is
    'Checks that the checkpoints in the database fit each other and the chains; one row per problem.';
