-- The statistics of all tenants' sessions by quarter of an hour: a day of another zone than UTC begins and ends within a day of
-- UTC, and these fill the gap in place of single sessions. functions/fill_usage_sums.sql fills what is there already.
create table rollcall.total_stats_15m (
    bucket timestamptz not null,
    shard bigint not null,
    started bigint not null,
    completed bigint not null,
    idle bigint not null,
    max_duration bigint not null,
    abandoned bigint not null,
    no_shows bigint not null,
    timed bigint not null,
    duration_us bigint not null,
    constraint total_stats_15m_pkey primary key (bucket, shard)
) with (fillfactor = 70);
comment on table rollcall.total_stats_15m is
    'Like total_stats_day for each quarter of an hour in which sessions started or ended: the outcomes are those of sessions that ended in it. Sum over the shards.';

create table rollcall.total_duration_bands_15m (
    bucket timestamptz not null,
    band smallint not null,
    shard bigint not null,
    sessions bigint not null,
    constraint total_duration_bands_15m_pkey primary key (bucket, band, shard)
) with (fillfactor = 70);
comment on table rollcall.total_duration_bands_15m is
    'Like total_duration_bands_day for each quarter of an hour in which sessions ended. Sum over the shards.';
