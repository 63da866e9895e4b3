-- The quarters of an hour that a span touches; one without length touches its own.
create or replace function rollcall.quarters_touched(p_from timestamptz, p_to timestamptz) returns tstzrange
    language sql stable parallel safe
begin atomic
    select tstzrange(date_bin('15 minutes', p_from, 'epoch'),
                     date_bin('15 minutes', greatest(p_from, p_to - interval '1 microsecond'), 'epoch') + interval '15 minutes');
end;

comment on function rollcall.quarters_touched(timestamptz, timestamptz) is
    'Internal: the quarters of an hour that a span from one instant to another touches.';
