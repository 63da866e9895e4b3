update rollcall.participation_spans s
set disconnected_at = greatest(s.connected_at, f.ended_at),
    last_evidence_at = greatest(s.last_evidence_at, f.ended_at),
    end_reason = f.end_reason,
    uncertainty_us = f.uncertainty_us
from unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::bigint[])
    as f (epoch, connection, ended_at, end_reason, uncertainty_us)
where s.epoch = f.epoch and s.connection = f.connection and s.disconnected_at is null
