update rollcall.node_epochs
set applied_seq = $3,
    attested_until = greatest(attested_until, $4),
    lease_until = greatest(lease_until, clock_timestamp() + $5)
where epoch = $1 and applied_seq = $2 and state = 'active'
