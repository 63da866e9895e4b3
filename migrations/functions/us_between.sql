-- From one instant to another in whole microseconds, exact.
create or replace function rollcall.us_between(p_from timestamptz, p_to timestamptz) returns bigint
    language sql immutable parallel safe
begin atomic
    select (extract(epoch from p_to - p_from) * 1000000)::bigint;
end;

comment on function rollcall.us_between(timestamptz, timestamptz) is 'Microseconds from one instant to another.';
