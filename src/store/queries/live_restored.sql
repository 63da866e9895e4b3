-- Who was present, each with its newest span: how that ended tells whether the node drained or crashed. A crash that is
-- longer ago takes no more testimony (no attested_until): a bill may have been made since. Who is restored now has its grace
-- to testify, and both together stay within the resume_window of get_billing_watermark().
select p.session_id, p.participant_id, p.identity, p.identity_verified, n.name as "name?", p.role,
       p.state::text as state, p.joined_at, p.last_seen_at, s.epoch as "epoch?", s.connection as "connection?",
       s.disconnected_at as "disconnected_at?", s.end_reason as "end_reason?",
       s.uncertainty_us as "uncertainty_us?", case when coalesce(e.closed_at, clock_timestamp()) > clock_timestamp() - interval '40 seconds' then e.attested_until end
           as "attested_until?"
from rollcall.participants p
join rollcall.sessions r on r.session_id = p.session_id and r.status = 'active'
left join rollcall.participant_pii n on n.session_id = p.session_id and n.participant_id = p.participant_id
left join lateral (
    select x.epoch, x.connection, x.disconnected_at, x.end_reason, x.uncertainty_us
    from rollcall.participation_spans x
    where x.session_id = p.session_id and x.participant_id = p.participant_id
    order by x.epoch desc, x.connection desc limit 1) s on true
left join rollcall.node_epochs e on e.epoch = s.epoch
where p.session_id = any ($1) and p.status <> 'left'
order by p.session_id, p.participant_id
