-- Monthly partitions of the audit log, made ahead. Called at each migrate run and daily by the server.
create or replace function rollcall.ensure_audit_partitions(p_ahead integer default 3) returns integer
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_from timestamptz;
    v_name text;
    v_made integer := 0;
begin
    if p_ahead is null or p_ahead not between 0 and 120 then
        raise exception 'p_ahead is %, but must be between 0 and 120 months', p_ahead
            using errcode = 'invalid_parameter_value';
    end if;
    -- Two callers at once would make the same table.
    perform pg_advisory_xact_lock(hashtext('rollcall.ensure_audit_partitions'));
    -- From last month on: a journal that waited over the turn of the month still brings rows for it.
    for v_from in
        select date_trunc('month', clock_timestamp(), 'UTC') at time zone 'UTC' + make_interval(months => n)
        from generate_series(-1, p_ahead) as n
    loop
        v_from := v_from::timestamp at time zone 'UTC';
        v_name := 'session_audit_log_y' || to_char(v_from at time zone 'UTC', 'YYYY"m"MM');
        if to_regclass(format('rollcall.%I', v_name)) is null then
            v_made := v_made + rollcall.make_audit_partition(v_name, v_from);
        end if;
    end loop;
    return v_made;
end
$$;

comment on function rollcall.ensure_audit_partitions(integer) is
    'Makes the monthly partitions of the audit log from last month to p_ahead months from now; returns how many were missing.';
