update rollcall.node_epochs
set applied_seq = $3,
    attested_until = greatest(attested_until, $4),
    lease_until = greatest(lease_until, clock_timestamp() + $5)
where epoch = $1 and applied_seq = $2 and state = 'active'
-- Whether what is open should be measured: with evidence marks, and for at most a hundredth of the time (half a microsecond a
-- connection).
returning $4::timestamptz is not null
    and clock_timestamp() > open_measured_at + greatest(interval '1 second', open_connections * interval '50 microseconds')
    as "measures_open!"
