-- Which ended sessions have connections that are still open, so that the watermark need not look up the session of every open
-- connection (a microsecond or more each; nearly all of these sessions are active). Kept by whoever ends a session or flushes
-- what concerns an ended one, under the lock of its row.
alter table rollcall.sessions add column awaits_closes boolean not null default false;
comment on column rollcall.sessions.awaits_closes is
    'The session has ended and connections are open: their closes are on the way, and may cut back what they seem to have used.';
update rollcall.sessions e set awaits_closes = true
where e.status = 'ended'
  and e.session_id in (select s.session_id from rollcall.participation_spans s where s.disconnected_at is null);
create index sessions_awaiting_idx on rollcall.sessions (session_id) where awaits_closes;
