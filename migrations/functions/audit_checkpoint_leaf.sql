-- The leaf of a checkpoint: the heads of the epochs that moved, in the order of the epochs.
create or replace function rollcall.audit_checkpoint_leaf(
    p_incarnation integer, p_size bigint, p_created_at timestamptz, p_prior_root bytea
) returns bytea
    language sql stable parallel safe
    return sha256('\x000104'::bytea
        || '\x00000004'::bytea || int4send(p_incarnation)
        || '\x00000008'::bytea || int8send(p_size)
        || '\x00000008'::bytea || timestamptz_send(p_created_at)
        || rollcall.audit_field(p_prior_root)
        || coalesce((select string_agg('\x00000008'::bytea || int8send(h.epoch) || '\x00000008'::bytea || int8send(h.last_seq)
                                       || '\x00000020'::bytea || h.hash, ''::bytea order by h.epoch)
                     from rollcall.audit_checkpoint_heads h
                     where h.incarnation = p_incarnation and h.size = p_size), ''::bytea));

comment on function rollcall.audit_checkpoint_leaf(integer, bigint, timestamptz, bytea) is
    'The leaf hash of a checkpoint over its row and the heads in audit_checkpoint_heads.';
