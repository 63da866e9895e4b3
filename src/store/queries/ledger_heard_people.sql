-- Who holds the connections that were heard. This never changes, so it needs no lock.
select connection, session_id, participant_id from rollcall.participation_spans
where epoch = $1 and connection = any ($2)
