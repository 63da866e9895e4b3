-- Which of these ended sessions have open connections. Looked up one by one: the connections of a session are few. The rows are
-- locked by an earlier statement, so that what was flushed before that is seen.
update rollcall.sessions s
set awaits_closes = o.are_open
from (select e.session_id, p.are_open
      from unnest($1::uuid[]) as e (session_id),
           lateral (select count(*) > 0 as are_open
                    from (select from rollcall.participation_spans x
                          where x.session_id = e.session_id and x.disconnected_at is null limit 1) y) p) o
where s.session_id = o.session_id and s.awaits_closes <> o.are_open
