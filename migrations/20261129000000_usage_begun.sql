-- Days and months of any time zone out of the quarters of an hour: what the session days that began in a quarter have in all.
-- Only those that cross a bound have to be looked at one by one, and an index finds them. The function that counts fills
-- what is there already (functions/apply_span_changes.sql).
alter table rollcall.usage_15m
    add column begun_sessions bigint not null default 0,
    add column begun_participants bigint not null default 0,
    add column begun_connections bigint not null default 0,
    add column begun_connected_us bigint not null default 0,
    add column begun_covered_us bigint not null default 0,
    add column begun_uncertainty_us bigint not null default 0,
    add column begun_whole_seconds bigint not null default 0,
    add column begun_connection_minutes bigint not null default 0,
    add column begun_participant_minutes bigint not null default 0,
    add column begun_session_minutes bigint not null default 0;
comment on column rollcall.usage_15m.begun_sessions is
    'Rows of session_usage_day whose first_at lies in the quarter; the other begun_ columns are their sums, whenever it was that people were there.';

-- How long a row's stretch is at most: 15 minutes, 1 hour, 4 hours, a day. Where a row may be in progress at an instant, it
-- began at most so long before; the index does not change while a session stays in its class.
alter table rollcall.session_usage_day
    add column lasting smallint not null generated always as (
        case when last_at - first_at <= interval '15 minutes' then 0
             when last_at - first_at <= interval '1 hour' then 1
             when last_at - first_at <= interval '4 hours' then 2
             else 3 end) stored;
comment on column rollcall.session_usage_day.lasting is 'From first_at to last_at at most 0: 15 minutes, 1: 1 hour, 2: 4 hours, 3: a day.';
create index session_usage_day_lasting_idx on rollcall.session_usage_day (tenant_id, lasting, first_at);
create index session_usage_day_lasting_all_idx on rollcall.session_usage_day (lasting, first_at);

-- Who was there on an earlier day already, with that day in the index: of a month only those from before it are looked up.
drop index rollcall.participant_coverage_return_idx;
create index participant_coverage_return_idx
    on rollcall.participant_coverage (tenant_id, day, first_day) where day > first_day;
drop index rollcall.session_usage_day_return_idx;
create index session_usage_day_return_idx
    on rollcall.session_usage_day (tenant_id, day, first_day) where day > first_day;
