insert into rollcall.evidence_marks (epoch, seq, marked_at, connections)
select $1, f.seq, f.marked_at, f.connections
from unnest($2::bigint[], $3::timestamptz[], $4::integer[]) as f (seq, marked_at, connections)
