-- Usage of any period in any time zone as a difference of sums: what is added up by day and by quarter of an hour says how much
-- there was and who was new; what each quarter takes over from the one before it, and who is back after a pause, says who else
-- was there in a period that begins with it. No session has to be looked at. The function that counts fills what is there already
-- (functions/fill_usage_sums.sql).
alter table rollcall.participant_coverage add column quarters tstzmultirange;
comment on column rollcall.participant_coverage.quarters is
    'The quarters of an hour that the spans of the day touch; a span without length touches its own.';
alter table rollcall.session_usage_day add column quarters tstzmultirange;
comment on column rollcall.session_usage_day.quarters is 'The quarters of an hour with anybody in the session.';

alter table rollcall.usage_15m
    add column uncertainty_us bigint not null default 0,
    add column connections_carried bigint not null default 0,
    add column sessions_new bigint not null default 0,
    add column sessions_carried bigint not null default 0,
    add column participants_new bigint not null default 0,
    add column participants_carried bigint not null default 0,
    add column present_max integer not null generated always as (greatest(
        present[1], present[2], present[3], present[4], present[5], present[6], present[7], present[8], present[9], present[10],
        present[11], present[12], present[13], present[14], present[15])) stored;
comment on column rollcall.usage_15m.uncertainty_us is 'Of the spans that end in the quarter.';
comment on column rollcall.usage_15m.connections_carried is 'Connections of the quarter that began before it.';
comment on column rollcall.usage_15m.sessions_new is 'Sessions whose first quarter this is.';
comment on column rollcall.usage_15m.sessions_carried is 'Sessions in this quarter and in the one before.';
comment on column rollcall.usage_15m.participants_new is 'Participants of sessions whose first quarter this is.';
comment on column rollcall.usage_15m.participants_carried is 'Participants of sessions in this quarter and in the one before.';
comment on column rollcall.usage_15m.present_max is 'The largest of present: the peak of the quarter where one shard counted alone.';

alter table rollcall.total_15m
    add column participants_new bigint not null default 0,
    add column participants_carried bigint not null default 0,
    add column present_max integer not null generated always as (greatest(
        present[1], present[2], present[3], present[4], present[5], present[6], present[7], present[8], present[9], present[10],
        present[11], present[12], present[13], present[14], present[15])) stored;

create table rollcall.usage_returns (
    tenant_id uuid not null,
    bucket timestamptz not null,
    since timestamptz not null,
    shard bigint not null,
    sessions bigint not null,
    participants bigint not null,
    constraint usage_returns_pkey primary key (tenant_id, bucket, since, shard)
) with (fillfactor = 70);
create index usage_returns_bucket_idx on rollcall.usage_returns (bucket);
comment on table rollcall.usage_returns is
    'Who is there again in a quarter of an hour after at least one without: in a period that begins in between, they come anew. Sum over the shards.';
comment on column rollcall.usage_returns.since is 'The start of the last quarter before in which they were there.';
comment on column rollcall.usage_returns.shard is 'Who counted: the epoch of the spans, -1 for the clean-up. Keeps writers apart.';

-- Nobody looks for the days of all tenants' sessions, or of participants, in this way any more.
drop index rollcall.session_usage_day_lasting_all_idx;
drop index rollcall.participant_coverage_return_idx;

create table rollcall.total_stats_day (
    day date not null,
    shard bigint not null,
    started bigint not null,
    completed bigint not null,
    idle bigint not null,
    max_duration bigint not null,
    abandoned bigint not null,
    no_shows bigint not null,
    timed bigint not null,
    duration_us bigint not null,
    constraint total_stats_day_pkey primary key (day, shard)
) with (fillfactor = 70);
comment on table rollcall.total_stats_day is 'session_stats_day summed over all tenants.';
insert into rollcall.total_stats_day
    (day, shard, started, completed, idle, max_duration, abandoned, no_shows, timed, duration_us)
select d.day, d.shard, sum(d.started), sum(d.completed), sum(d.idle), sum(d.max_duration), sum(d.abandoned), sum(d.no_shows),
       sum(d.timed), sum(d.duration_us)
from rollcall.session_stats_day d group by d.day, d.shard;
