-- How long a node must be past its lease before the clean-up stops to wait for what it still has to say. Also how long
-- this database must have been up: after a long outage all leases look old, yet the nodes are there. Can be set per
-- session: set rollcall.epoch_lost_after = '48 hours'.
create or replace function rollcall.epoch_lost_after() returns interval
    language sql stable
begin atomic
    select coalesce(nullif(pg_catalog.current_setting('rollcall.epoch_lost_after', true), '')::interval, interval '24 hours');
end;

comment on function rollcall.epoch_lost_after() is
    'How long past its lease a node counts as lost for cleanup_inactive_sessions; 24 hours unless set.';
