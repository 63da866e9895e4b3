-- Evidence of connections that earlier batches opened. Their sessions are locked. The people are found here and not by the
-- server: thousands of rows a second would travel there and back.
with heard as (
    select s.epoch, s.connection, s.session_id, s.participant_id, f.evidence_at, f.activity_at
    from unnest($2::bigint[], $3::timestamptz[], $4::timestamptz[]) as f (connection, evidence_at, activity_at)
    join rollcall.participation_spans s on s.epoch = $1 and s.connection = f.connection
), spans as (
    update rollcall.participation_spans s
    set last_evidence_at = h.evidence_at
    from heard h
    where s.epoch = h.epoch and s.connection = h.connection and s.last_evidence_at < h.evidence_at
), people as (
    update rollcall.participants p
    set last_seen_at = h.seen_at
    from (select session_id, participant_id, max(evidence_at) as seen_at from heard group by session_id, participant_id) h
    where p.session_id = h.session_id and p.participant_id = h.participant_id and p.last_seen_at < h.seen_at
)
update rollcall.sessions s
set last_seen_at = greatest(s.last_seen_at, h.seen_at),
    last_activity_at = greatest(s.last_activity_at, h.activity_at)
from (select session_id, max(evidence_at) as seen_at, max(activity_at) as activity_at from heard group by session_id) h
where s.session_id = h.session_id and (s.last_seen_at < h.seen_at or s.last_activity_at < h.activity_at)
