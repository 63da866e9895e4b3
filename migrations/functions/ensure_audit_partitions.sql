-- Monthly partitions of the audit log, made ahead. Called at each migrate run and daily by the server. SECURITY DEFINER
-- because only the owner of the log may make partitions of it.
create or replace function rollcall.ensure_audit_partitions(p_ahead integer default 3) returns integer
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_month timestamp;
    v_name text;
    v_role text;
    v_made integer := 0;
begin
    if p_ahead is null or p_ahead not between 0 and 120 then
        raise exception 'p_ahead is %, but must be between 0 and 120 months', coalesce(p_ahead::text, 'null')
            using errcode = 'invalid_parameter_value', hint = 'Three months are made by default.';
    end if;
    -- Two callers at once would make the same table.
    perform pg_advisory_xact_lock(hashtext('rollcall.ensure_audit_partitions'));
    -- From last month on: a journal that waited over the turn of the month still brings rows for it.
    for v_month in
        select date_trunc('month', clock_timestamp() at time zone 'UTC') + make_interval(months => n)
        from generate_series(-1, p_ahead) as n
    loop
        v_name := 'session_audit_log_y' || to_char(v_month, 'YYYY"m"MM');
        continue when to_regclass(format('rollcall.%I', v_name)) is not null;
        begin
            -- Attaching locks less than "create table ... partition of": the flusher goes on.
            execute format('create table rollcall.%I (like rollcall.session_audit_log including defaults including constraints)',
                           v_name);
            -- Default privileges of the owner may have given something away; rows come in through the parent table.
            execute format('revoke all on rollcall.%I from public', v_name);
            for v_role in select r.rolname from pg_catalog.pg_roles r where r.rolname in ('anon', 'authenticated') loop
                execute format('revoke all on rollcall.%I from %I', v_name, v_role);
            end loop;
            for v_role in select r.rolname from pg_catalog.pg_roles r
                          where r.rolname in ('rollcall_server', 'rollcall_billing', 'rollcall_auditor') loop
                execute format('revoke all on rollcall.%I from %I', v_name, v_role);
            end loop;
            execute format('comment on table rollcall.%I is %L', v_name, 'Audit trail of ' || to_char(v_month, 'YYYY-MM') || ' (UTC).');
            execute format('alter table rollcall.session_audit_log attach partition rollcall.%I for values from (%L) to (%L)',
                           v_name, v_month at time zone 'UTC', (v_month + interval '1 month') at time zone 'UTC');
            execute format('create trigger session_audit_log_no_truncate before truncate on rollcall.%I
                            for each statement execute function rollcall.deny_change()', v_name);
            execute format('alter table rollcall.%I enable always trigger session_audit_log_no_truncate', v_name);
            execute format('alter table rollcall.%I enable always trigger session_audit_log_append_only', v_name);
            v_made := v_made + 1;
        exception when check_violation then
            -- Rows of that month are in the default partition already; they are complete there, only slower to find.
            raise warning 'no partition % was made: the default partition already has rows of that month', v_name;
        end;
    end loop;
    return v_made;
end
$$;

comment on function rollcall.ensure_audit_partitions(integer) is
    'Makes the monthly partitions of the audit log from last month to p_ahead months from now; returns how many were missing.';
