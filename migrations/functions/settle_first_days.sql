-- Puts the first days of participants and sessions right after a fact about an earlier day arrived late, or a day
-- emptied. Rare: facts come in the order in which they happen, but for a journal that waited.
create or replace function rollcall.settle_first_days(p_sessions uuid[], p_shard bigint) returns void
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    with person as (
        select c.session_id, c.participant_id, c.day, c.first_day as was,
               coalesce(min(c.day) filter (where c.connections > 0) over (partition by c.session_id, c.participant_id),
                        c.day) as first_day
        from rollcall.participant_coverage c where c.session_id = any (p_sessions)
    ), person_moved as (
        update rollcall.participant_coverage c
        set first_day = p.first_day
        from person p
        where c.session_id = p.session_id and c.participant_id = p.participant_id and c.day = p.day
          and p.was <> p.first_day
        returning c.tenant_id, c.day, c.connections > 0 as counted, p.was, c.first_day
    ), meeting as (
        select u.session_id, u.day, u.first_day as was,
               coalesce(min(u.day) filter (where u.participants > 0) over (partition by u.session_id), u.day) as first_day
        from rollcall.session_usage_day u where u.session_id = any (p_sessions)
    ), meeting_moved as (
        update rollcall.session_usage_day u
        set first_day = m.first_day
        from meeting m
        where u.session_id = m.session_id and u.day = m.day and m.was <> m.first_day
        returning u.tenant_id, u.day, u.participants > 0 as counted, m.was, u.first_day
    )
    insert into rollcall.usage_day as u (tenant_id, day, shard, participants_new, sessions_new)
    select x.tenant_id, x.day, p_shard, sum(x.participants_new), sum(x.sessions_new)
    from (select p.tenant_id, p.day, (p.day = p.first_day)::integer - (p.day = p.was)::integer as participants_new,
                 0 as sessions_new
          from person_moved p where p.counted
          union all
          select m.tenant_id, m.day, 0, (m.day = m.first_day)::integer - (m.day = m.was)::integer
          from meeting_moved m where m.counted) x
    group by x.tenant_id, x.day
    order by x.tenant_id, x.day
    on conflict (tenant_id, day, shard) do update
    set participants_new = u.participants_new + excluded.participants_new,
        sessions_new = u.sessions_new + excluded.sessions_new;
end
$$;

comment on function rollcall.settle_first_days(uuid[], bigint) is
    'Internal: finds the first days of participants and sessions anew, and moves the counts of new ones with them.';
