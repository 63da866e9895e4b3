-- All sessions of the batch before anything else, by id: every other writer takes them first as well. Who holds the
-- connections that were heard never changes, so finding that out needs no lock. Only those that had ended travel.
select coalesce(array_agg(session_id) filter (where status = 'ended'), '{}') as "ended!" from (
    select session_id, status from rollcall.sessions
    where session_id in (
        select unnest($1::uuid[])
        union
        select s.session_id from rollcall.participation_spans s where s.epoch = $2 and s.connection = any ($3::bigint[]))
    order by session_id
    for no key update) locked
