-- Refuses arguments that the reading functions cannot work with, each with a sentence that helps. Null means: not an
-- argument of the caller.
drop function if exists rollcall.check_arguments(text, text, timestamptz, timestamptz);

create or replace function rollcall.check_arguments(
    p_rounding text default null, p_tz text default null, p_from timestamptz default null, p_to timestamptz default null,
    p_grace interval default null
) returns void
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if p_rounding not in ('exact', 'second', 'minute_per_connection', 'minute_per_participant', 'minute_per_session') then
        raise exception 'unknown rounding "%"', p_rounding
            using errcode = 'invalid_parameter_value',
                  hint = 'One of exact, second, minute_per_connection, minute_per_participant, minute_per_session.';
    end if;
    if p_from >= p_to then
        raise exception 'the period is empty: p_from (%) is not before p_to (%)', p_from, p_to
            using errcode = 'invalid_parameter_value', hint = 'A period is half-open: p_from belongs to it, p_to does not.';
    end if;
    if p_grace < interval '0' or p_grace > interval '24 hours' then
        raise exception 'the grace is %, but must be between 0 and 24 hours', p_grace
            using errcode = 'invalid_parameter_value', hint = 'For example interval ''30 seconds''; null takes the tenant''s.';
    end if;
    begin
        perform timestamptz '2000-01-01 00:00+00' at time zone p_tz;
    exception when invalid_parameter_value then
        raise exception 'unknown time zone "%"', p_tz
            using errcode = 'invalid_parameter_value', hint = 'A name out of pg_timezone_names, for example Europe/Berlin.';
    end;
end
$$;

comment on function rollcall.check_arguments(text, text, timestamptz, timestamptz, interval) is
    'Internal: refuses unknown roundings and time zones, empty periods and impossible graces.';
