-- The whole proof that SQL can give. It reads every record once; p_epoch and p_since make it shorter.
create or replace function rollcall.verify_audit_chain(p_epoch bigint default null, p_since timestamptz default null)
    returns table (severity text, epoch bigint, seq bigint, problem text)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_epoch bigint;
begin
    if rollcall.scope_tenant_id() is not null then
        raise exception 'the chain can be verified only by a role that sees every tenant'
            using errcode = 'insufficient_privilege',
                  hint = 'A batch holds records of many tenants. For one event ask the operator for an inclusion proof (rollcall audit prove).';
    end if;
    if p_epoch is not null and not exists (select from rollcall.node_epochs n where n.epoch = p_epoch)
       and not exists (select from rollcall.audit_batches b where b.epoch = p_epoch) then
        raise exception 'unknown epoch %', p_epoch
            using errcode = 'no_data_found', hint = 'Look it up in rollcall.node_epochs; 0 is the control plane.';
    end if;
    if p_since > clock_timestamp() then
        raise exception 'p_since is %, which is in the future', p_since
            using errcode = 'invalid_parameter_value', hint = 'Leave it out to check everything.';
    end if;
    return query select * from rollcall.verify_audit_triggers();
    for v_epoch in
        with recursive named (epoch) as (
            -- Every epoch that has rows, known or not, found by jumping from one to the next in the index.
            select least((select a.epoch from rollcall.audit_log_all a order by a.epoch limit 1),
                         (select b.epoch from rollcall.audit_batches b order by b.epoch limit 1))
            union all
            select least((select a.epoch from rollcall.audit_log_all a where a.epoch > n.epoch order by a.epoch limit 1),
                         (select b.epoch from rollcall.audit_batches b where b.epoch > n.epoch order by b.epoch limit 1))
            from named n where n.epoch is not null
        )
        select n.epoch from named n where n.epoch is not null
        union
        select n.epoch from rollcall.node_epochs n
        order by 1
    loop
        continue when v_epoch <> p_epoch;
        return query select * from rollcall.verify_audit_epoch(v_epoch, p_since);
    end loop;
    return query select * from rollcall.verify_audit_checkpoints(p_epoch, p_since);
end
$$;

comment on function rollcall.verify_audit_chain(bigint, timestamptz) is
    'Checks that no record of the ledger was changed, removed or added: no rows when intact, else severity, epoch, number and problem.';
