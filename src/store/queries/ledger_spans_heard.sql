update rollcall.participation_spans s
set last_evidence_at = f.evidence_at
from unnest($2::bigint[], $3::timestamptz[]) as f (connection, evidence_at)
where s.epoch = $1 and s.connection = f.connection and s.last_evidence_at < f.evidence_at
