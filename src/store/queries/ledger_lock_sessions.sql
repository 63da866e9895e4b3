-- All sessions of the batch before anything else, by id: every other writer takes them first as well.
select session_id from rollcall.sessions
where session_id = any ($1)
order by session_id
for no key update
