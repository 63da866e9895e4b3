-- What a participant's time comes to in units. minute_per_session needs the sum of the session and is done by the caller.
create or replace function rollcall.round_usage(p_rounding text, p_billable_us numeric, p_connection_minutes numeric)
    returns numeric
    language sql immutable parallel safe
begin atomic
    select case p_rounding
               when 'exact' then p_billable_us / 1000000
               when 'second' then pg_catalog.ceil(p_billable_us / 1000000)
               when 'minute_per_connection' then p_connection_minutes
               else pg_catalog.ceil(p_billable_us / 60000000)
           end;
end;

comment on function rollcall.round_usage(text, numeric, numeric) is
    'Internal: billed units of a participant: seconds for exact and second, else minutes.';
