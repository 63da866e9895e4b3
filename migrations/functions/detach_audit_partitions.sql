-- Retires old months of the audit log by detaching their partitions. Nothing is deleted: a detached partition stays as a
-- table of its own, refuses every change, and the verifier goes on reading it; what it holds is written down in
-- audit_detached, so that it may be archived and dropped later without looking like tampering.
--
-- SECURITY DEFINER because only the owner of the log may detach partitions of it. Detaching needs a moment in which nobody
-- writes the log: lock_timeout bounds how long the flusher has to wait behind it.
create or replace function rollcall.detach_audit_partitions(p_keep_months integer, p_dry_run boolean default false)
    returns table (partition_name text, from_at timestamptz, to_at timestamptz, records bigint)
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    v_name text;
    v_oldest_kept timestamp;
    v_role text;
    v_unsealed bigint;
begin
    if p_keep_months is null or p_keep_months < 1 then
        raise exception 'p_keep_months is %, but must be at least 1', coalesce(p_keep_months::text, 'null')
            using errcode = 'invalid_parameter_value', hint = 'How many whole months before the present one stay in the log.';
    end if;
    v_oldest_kept := date_trunc('month', clock_timestamp() at time zone 'UTC') - make_interval(months => p_keep_months);
    perform pg_advisory_xact_lock(hashtext('rollcall.ensure_audit_partitions'));
    if not p_dry_run then
        perform rollcall.seal_control_events();
    end if;
    for v_name, from_at in
        select c.relname, to_date(right(c.relname, 7), 'YYYY"m"MM')::timestamp at time zone 'UTC'
        from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'rollcall.session_audit_log'::regclass
          and c.relname ~ '^session_audit_log_y\d{4}m\d{2}$'
          and to_date(right(c.relname, 7), 'YYYY"m"MM') < v_oldest_kept
        order by c.relname
    loop
        partition_name := v_name;
        to_at := ((from_at at time zone 'UTC') + interval '1 month') at time zone 'UTC';
        if p_dry_run then
            execute format('select count(*) from rollcall.%I', v_name) into records;
            return next;
            continue;
        end if;
        execute format('lock table rollcall.%I in share mode', v_name);
        execute format('select count(*) from rollcall.%I a where a.seq >
                        (select coalesce(max(b.last_seq), 0) from rollcall.audit_batches b where b.epoch = a.epoch)', v_name)
            into v_unsealed;
        if v_unsealed > 0 then
            raise warning '% was not detached: % of its records belong to no batch', v_name, v_unsealed
                using hint = 'Run: select * from rollcall.verify_audit_chain()';
            continue;
        end if;
        execute format(
            'insert into rollcall.audit_detached (partition_name, epoch, seqs, records, from_at, to_at)
             select %L, i.epoch, range_agg(int8range(i.first, i.last + 1)), sum(i.records), %L, %L
             from (select r.epoch, min(r.seq) as first, max(r.seq) as last, count(*) as records
                   from (select a.epoch, a.seq, a.seq - row_number() over (partition by a.epoch order by a.seq) as island
                         from rollcall.%I a) r
                   group by r.epoch, r.island) i
             group by i.epoch on conflict do nothing', v_name, from_at, to_at, v_name);
        execute format('alter table rollcall.session_audit_log detach partition rollcall.%I', v_name);
        -- The row trigger went with the parent.
        execute format('create trigger session_audit_log_append_only before insert or update or delete on rollcall.%I
                        for each row execute function rollcall.deny_change()', v_name);
        execute format('alter table rollcall.%I enable always trigger session_audit_log_append_only', v_name);
        for v_role in select r.rolname from pg_catalog.pg_roles r
                      where r.rolname in ('rollcall_server', 'rollcall_billing', 'rollcall_auditor') loop
            execute format('revoke insert, update, delete, truncate on rollcall.%I from %I', v_name, v_role);
        end loop;
        select coalesce(sum(d.records), 0) into records from rollcall.audit_detached d where d.partition_name = v_name;
        perform rollcall.refresh_audit_log_all();
        return next;
    end loop;
end
$$;

comment on function rollcall.detach_audit_partitions(integer, boolean) is
    'Detaches the monthly partitions of the audit log that are older than p_keep_months months; deletes nothing. One row per partition.';
