-- The histograms of durations once more in bands of eight bins: a percentile is looked for in the bands first, and then in the
-- bins of one band alone. functions/fill_usage_sums.sql fills what is there already.
create table rollcall.session_duration_bands_day (
    tenant_id uuid not null,
    day date not null,
    band smallint not null,
    shard bigint not null,
    sessions bigint not null,
    constraint session_duration_bands_day_pkey primary key (tenant_id, day, band, shard)
) with (fillfactor = 70);
comment on table rollcall.session_duration_bands_day is 'session_durations_day in bands of eight bins, band = bin / 8.';

create table rollcall.total_duration_bands_day (
    day date not null,
    band smallint not null,
    shard bigint not null,
    sessions bigint not null,
    constraint total_duration_bands_day_pkey primary key (day, band, shard)
) with (fillfactor = 70);
comment on table rollcall.total_duration_bands_day is 'session_duration_bands_day summed over all tenants.';
