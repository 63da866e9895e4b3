insert into rollcall.evidence_marks (epoch, seq, marked_at, connections, leaf)
select $1, f.seq, f.marked_at, f.connections, f.leaf
from unnest($2::bigint[], $3::timestamptz[], $4::integer[], $5::bytea[]) as f (seq, marked_at, connections, leaf)
