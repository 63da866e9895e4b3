-- Makes a sink, or checks that it is as asked for: a sink that changed its cut would tell the same usage twice.
create or replace function rollcall.add_usage_sink(
    p_sink text,
    p_starts_at timestamptz,
    p_tenant_id uuid default null,
    p_slice text default 'day',
    p_tz text default 'UTC'
) returns boolean
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_known rollcall.usage_sinks;
    v_starts_at timestamptz := date_trunc(p_slice, p_starts_at, 'UTC');
begin
    perform rollcall.check_may_write('add_usage_sink');
    perform rollcall.check_arguments(p_tz => coalesce(p_tz, 'null'));
    if p_sink is null or p_sink !~ '^[a-z0-9][a-z0-9_-]{0,62}$' then
        raise exception '"%" is not a name for a sink', coalesce(p_sink, 'null')
            using errcode = 'invalid_parameter_value', hint = 'a-z, 0-9, _ and -, at most 63 characters.';
    end if;
    if p_slice is null or p_slice not in ('hour', 'day') then
        raise exception 'unknown slice "%"', coalesce(p_slice, 'null')
            using errcode = 'invalid_parameter_value', hint = 'One of hour, day.';
    end if;
    if p_starts_at is null or not isfinite(p_starts_at) or v_starts_at <> p_starts_at then
        raise exception 'a sink by % cannot start at %', p_slice, coalesce(p_starts_at::text, 'null')
            using errcode = 'invalid_parameter_value',
                  hint = format('Give the start of a UTC %s, for example %s.', p_slice, coalesce(v_starts_at, '2026-01-01'));
    end if;
    insert into rollcall.usage_sinks (sink, tenant_id, slice, time_zone, starts_at, filled_through)
    values (p_sink, p_tenant_id, p_slice, p_tz, p_starts_at, p_starts_at)
    on conflict do nothing;
    if found then
        return true;
    end if;
    select * into strict v_known from rollcall.usage_sinks where sink = p_sink;
    if (v_known.tenant_id, v_known.slice, v_known.time_zone, v_known.starts_at)
       is distinct from (p_tenant_id, p_slice, p_tz, p_starts_at) then
        raise exception 'sink "%" exists and is another: tenant %, slices by %, zone %, from %', p_sink,
                        coalesce(v_known.tenant_id::text, 'all'), v_known.slice, v_known.time_zone, v_known.starts_at
            using errcode = 'invalid_parameter_value',
                  hint = 'What a sink was told cannot be cut anew; take another name.';
    end if;
    return false;
end
$$;

comment on function rollcall.add_usage_sink(text, timestamptz, uuid, text, text) is
    'Makes a sink for usage exports; false when it exists as asked for. Its cut cannot be changed.';
