-- How far the books are complete: the earliest of
--   - what every node has attested (with each evidence mark: all it heard until then is here); the slowest node decides;
--   - the last evidence of every open connection: the next evidence adds the time from there on. Of a node with more than 1,000,
--     what its flush measured last, which is at most so much earlier: reading each would take half a microsecond. Where its
--     session has ended and the node has not heard of it yet, it will be cut back to the end of the session;
--   - the ends that recovery gave to connections of a crashed node, as long as their clients may still come back and
--     testify that they were there longer. The oldest such end decides: each may be moved. Nothing that the nodes say of the
--     time after resume_window has passed since the epoch was closed moves an end: a client has 75 s to come back, to a node
--     that was started at most 40 s after. What they said before that is here once they have attested beyond it.
create or replace function rollcall.get_billing_watermark(out complete_through timestamptz)
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    c_read_up_to constant bigint := 1000;
    v_measured bigint[] := array(select e.epoch from rollcall.node_epochs e
                                 where e.state = 'active' and e.open_connections > c_read_up_to order by e.epoch);
begin
    with grace (resume_window) as (values (interval '2 minutes')), known (through) as (
        -- min() over nothing is null, and least() ignores nulls: then nothing is on the way from there.
        select least(statement_timestamp(), min(e.attested_until))
        from rollcall.node_epochs e where e.state = 'active' and e.epoch <> 0
    )
    select least(
        (select k.through from known k),
        (select min(e.open_evidence_from) from rollcall.node_epochs e where e.epoch = any (v_measured)),
        -- The others lie between these in the index, which under row-level security is used for plain columns only.
        (select min(o.evidence_from)
         from (select coalesce(v_measured[n], -1) as below, coalesce(v_measured[n + 1], 9223372036854775807) as above
               from generate_series(0, cardinality(v_measured)) as n offset 0) m,
              lateral (select min(greatest(s.last_evidence_at, s.connected_at)) as evidence_from
                       from rollcall.participation_spans s
                       where s.disconnected_at is null and s.epoch > m.below and s.epoch < m.above) o),
        -- Of few sessions, so they are looked up one by one.
        (select min(e.ended_at)
         from rollcall.sessions e
         where e.awaits_closes
           and exists (select from rollcall.participation_spans s
                       where s.session_id = e.session_id and s.disconnected_at is null offset 0)),
        (select min(s.disconnected_at)
         from grace g
         cross join known k
         -- Between its closing records and its own end an epoch is still active.
         join rollcall.node_epochs e on coalesce(e.closed_at, 'infinity') > k.through - g.resume_window
         join rollcall.participation_spans s on s.epoch = e.epoch and s.end_reason = 'node_crash'))
    into complete_through;
end
$$;

comment on function rollcall.get_billing_watermark() is
    'Up to this instant all usage is in this database: not past what a node has to attest, what an open connection can still add, or (for 2 minutes) what a client can still testify after a crash. Numbers for later time are provisional.';
