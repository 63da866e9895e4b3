-- After everything else of the batch: what is open now, and no evidence of it or of those who join later is before.
update rollcall.node_epochs e
set open_connections = o.connections,
    open_evidence_from = least(e.attested_until, o.evidence_from),
    open_measured_at = clock_timestamp()
from (select count(*) as connections, min(greatest(s.last_evidence_at, s.connected_at)) as evidence_from
      from rollcall.participation_spans s where s.epoch = $1 and s.disconnected_at is null) o
where e.epoch = $1
