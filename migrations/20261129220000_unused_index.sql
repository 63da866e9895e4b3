-- Nobody asks by the end of a session over all tenants: statistics go tenant by tenant or by daily sums. One entry less to
-- write when a session ends.
drop index rollcall.sessions_ended_idx;
