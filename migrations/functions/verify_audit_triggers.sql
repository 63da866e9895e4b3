-- Whether every table of the ledger still refuses changes: the two triggers are there, ENABLE ALWAYS and without a condition.
create or replace function rollcall.verify_audit_triggers()
    returns table (severity text, epoch bigint, seq bigint, problem text)
    language sql stable set search_path = pg_catalog, pg_temp as $$
    with ledger (oid) as (
        select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = 'rollcall.session_audit_log'::regclass
        union all
        select c.oid from pg_catalog.pg_class c
        where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p')
          and c.relname in ('session_audit_log', 'evidence_marks', 'refused_records', 'audit_batches', 'audit_checkpoints',
                            'audit_checkpoint_heads', 'audit_detached', 'audit_log_identity', 'billing_statements',
                            'billing_adjustments')
        union all
        select distinct c.oid from rollcall.audit_detached d
        join pg_catalog.pg_class c on c.relnamespace = 'rollcall'::regnamespace and c.relname = d.partition_name
        where not exists (select from pg_catalog.pg_inherits i where i.inhrelid = c.oid)
    ), wanted (what, bits) as (
        -- Bits of pg_trigger.tgtype: 1 row, 2 before, 8 delete, 16 update, 32 truncate.
        values ('UPDATE and DELETE', 1 + 2 + 8 + 16), ('TRUNCATE', 2 + 32)
    )
    select 'error', null::bigint, null::bigint,
           format('%s does not refuse %s: its trigger is missing, disabled, or not ENABLE ALWAYS', l.oid::regclass, w.what)
    from ledger l cross join wanted w
    where not exists (
        select from pg_catalog.pg_trigger t
        where t.tgrelid = l.oid and t.tgenabled = 'A' and t.tgfoid = 'rollcall.deny_change()'::regprocedure
          and t.tgtype & w.bits = w.bits and t.tgqual is null)
    order by 4
$$;

comment on function rollcall.verify_audit_triggers() is
    'One row per table of the ledger that does not refuse changes any more; no rows when all do.';
