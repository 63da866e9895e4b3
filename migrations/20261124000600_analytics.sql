-- Sessions that nobody came to have no duration; and all tenants' days are read in the order in which they were written.

-- greatest() passes over null: a session without a start had a duration of 0, and was no no-show.
create or replace function rollcall.duration_us(p_started_at timestamptz, p_ended_at timestamptz) returns bigint
    language sql immutable parallel safe as $$
    select case when p_started_at is not null and p_ended_at is not null
                then greatest(0, (extract(epoch from p_ended_at - p_started_at) * 1000000)::bigint) end
$$;

-- A row of coverage lies near the others of its day, so the small index is enough to find a day of all tenants.
create index participant_coverage_day_idx on rollcall.participant_coverage
    using brin (day) with (pages_per_range = 32, autosummarize = on);
