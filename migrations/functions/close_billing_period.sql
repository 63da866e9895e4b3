-- Closes a period of a tenant: from now on its total is fixed, and what arrives late becomes an adjustment. Refuses as
-- long as anything of the period may still be on the way. Nobody counts usage while it runs, so every fact is either in
-- the statement or an adjustment to it.
create or replace function rollcall.close_billing_period(p_tenant_id uuid, p_from timestamptz, p_to timestamptz) returns uuid
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_statement uuid;
    v_complete timestamptz;
    v_other record;
begin
    perform rollcall.check_may_write('close_billing_period');
    perform rollcall.check_arguments(p_from => p_from, p_to => p_to);
    if p_from is null or p_to is null or not isfinite(p_from) or not isfinite(p_to) then
        raise exception 'close_billing_period needs a finite period'
            using errcode = 'invalid_parameter_value', hint = 'Give p_from and p_to.';
    end if;
    perform from rollcall.tenants t where t.tenant_id = p_tenant_id;
    if not found then
        raise exception 'unknown tenant %', coalesce(p_tenant_id::text, 'null')
            using errcode = 'no_data_found', hint = 'Look it up in rollcall.tenants.';
    end if;
    perform pg_advisory_xact_lock(hashtext('rollcall.close_billing_period'));
    select w.complete_through into v_complete from rollcall.get_billing_watermark() w;
    if v_complete < p_to then
        raise exception 'the period cannot be closed yet: the books are complete through %, but it ends at %', v_complete, p_to
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Wait until rollcall.get_billing_watermark() has passed the end; connections that are open at it hold it back.';
    end if;
    select b.statement_id, b.period_from, b.period_to into v_other
    from rollcall.billing_statements b
    where b.tenant_id = p_tenant_id and b.period_from < p_to and b.period_to > p_from
    order by b.period_from limit 1;
    if found then
        raise exception 'the period overlaps statement %, which goes from % to %',
                v_other.statement_id, v_other.period_from, v_other.period_to
            using errcode = 'unique_violation', hint = 'A closed period stays closed; late facts are in rollcall.billing_adjustments.';
    end if;

    with line as (
        select u.session_id, u.participant_id, u.connections, u.connected_seconds, u.billable_seconds, u.uncertainty_seconds
        from rollcall.get_usage(p_tenant_id, p_from, p_to, 'participant', 'UTC', 'exact', interval '0') u
    ), earlier as (
        select coalesce(max(b.adjustments_through), 0) as through
        from rollcall.billing_statements b where b.tenant_id = p_tenant_id
    ), adjustment as (
        select coalesce(sum(a.delta_us), 0) as us, max(a.adjustment_id) as through
        from rollcall.billing_adjustments a, earlier e
        where a.tenant_id = p_tenant_id and a.adjustment_id > e.through
    )
    insert into rollcall.billing_statements
        (tenant_id, period_from, period_to, complete_through, sessions, participants, connections, connected_us,
         billable_us, uncertainty_us, adjustments_us, adjustments_through, lines_hash)
    select p_tenant_id, p_from, p_to, v_complete, count(distinct l.session_id), count(l.participant_id),
           coalesce(sum(l.connections), 0), coalesce(sum(l.connected_seconds), 0) * 1000000,
           coalesce(sum(l.billable_seconds), 0) * 1000000, coalesce(sum(l.uncertainty_seconds), 0) * 1000000,
           (select a.us from adjustment a), (select coalesce(a.through, e.through) from adjustment a, earlier e),
           sha256(convert_to(coalesce(string_agg(
               format(e'%s %s %s\n', l.session_id, l.participant_id, (l.billable_seconds * 1000000)::bigint),
               '' order by l.session_id, l.participant_id), ''), 'UTF8'))
    from line l
    returning statement_id into v_statement;
    return v_statement;
end
$$;

comment on function rollcall.close_billing_period(uuid, timestamptz, timestamptz) is
    'Closes [p_from, p_to) of a tenant and returns the id of the statement; refuses unless the books are complete through p_to. Late facts become billing_adjustments.';
