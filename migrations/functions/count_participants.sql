-- How many participants were there in each bucket, each once; those with connections that are still open among them. Bucket n
-- lies between bounds n and n+1.
--
-- Whole days (UTC): the new ones of each day, and once each those who were there on an earlier day already. Only at the
-- two ends of the whole, where a day is cut, and for open connections single participants are looked at; one bucket in all is
-- in usage_totals. Where other days are cut too, out of the quarters of an hour (usage_stays).
drop function if exists rollcall.count_participants(uuid, timestamptz, timestamptz, uuid[]);
drop function if exists rollcall.count_participants(uuid, timestamptz[], uuid[]);

create function rollcall.count_participants(p_tenant_id uuid, p_bounds timestamptz[], p_open uuid[])
    returns table (bucket integer, participants bigint)
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    v_last integer := cardinality(p_bounds) - 1;
    v_tenants uuid[] := case when p_tenant_id is null then array(select t.tenant_id from rollcall.tenants t)
                             else array[p_tenant_id] end;
begin
    if exists (select from unnest(p_bounds[2:v_last]) b where date_bin('24 hours', b, 'epoch') <> b) then
        return query
        with stay as materialized (
            select u.bucket, u.participants, u.others
            from unnest(v_tenants) as t (tenant_id), lateral rollcall.usage_stays(t.tenant_id, p_bounds) u
        )
        select x.bucket, sum(x.participants)::bigint
        from (select s.bucket, s.participants from stay s where s.bucket > 0
              union all
              select u.bucket, count(*)
              from stay s, lateral rollcall.usage_pieces(s.others, p_bounds, true, interval '0') u
              where s.bucket = 0 and cardinality(s.others) > 0
              group by u.bucket) x
        group by x.bucket;
        return;
    end if;

    if v_last = 1 and date_bin('24 hours', p_bounds[1] + interval '24 hours' - interval '1 microsecond', 'epoch')
                      < date_bin('24 hours', p_bounds[2], 'epoch') then
        return query
        select 1, sum(u.participants)::bigint from rollcall.usage_totals(p_tenant_id, p_bounds[1], p_bounds[2], p_open) u
        having sum(u.participants) <> 0;
        return;
    end if;

    return query
    with period as materialized (
        select p.*, greatest(p.whole, p.last_day + 1 - (p.to_at < (p.last_day + 1)::timestamp at time zone 'UTC')::integer)
                        as whole_to
        from (select n as bucket, p_bounds[n] as from_at, p_bounds[n + 1] as to_at, d.day, d.last_day,
                     d.day + (d.day::timestamp at time zone 'UTC' < p_bounds[n])::integer as whole
              from generate_series(1, v_last) as n,
                   lateral (select (p_bounds[n] at time zone 'UTC')::date as day,
                                   ((p_bounds[n + 1] - interval '1 microsecond') at time zone 'UTC')::date as last_day) d) p
    ), day_new as (
        select d.day, d.participants_new from rollcall.usage_day d
        where p_tenant_id is not null and d.tenant_id = p_tenant_id
          and d.day >= (select min(p.whole) from period p) and d.day < (select max(p.whole_to) from period p)
        union all
        select d.day, d.participants_new from rollcall.usage_day d
        where p_tenant_id is null
          and d.day >= (select min(p.whole) from period p) and d.day < (select max(p.whole_to) from period p)
    ), fresh as (
        select p.bucket, sum(d.participants_new) as participants
        from (select d.day, sum(d.participants_new) as participants_new from day_new d group by d.day) d
        join period p on d.day >= p.whole and d.day < p.whole_to
        group by p.bucket
    ), other as (
        select p.bucket, c.session_id, c.participant_id
        from unnest(v_tenants) as t (tenant_id),
             lateral (select o.session_id, o.participant_id, o.day, o.first_day from rollcall.participant_coverage o
                      where o.tenant_id = t.tenant_id and o.day > o.first_day and o.connections > 0
                        and o.day >= (select min(p.whole) from period p) and o.day < (select max(p.whole_to) from period p)
                      offset 0) c
        join period p on c.day >= p.whole and c.day < p.whole_to and c.first_day < p.whole
        union
        select p.bucket, c.session_id, c.participant_id
        from period p, unnest(v_tenants) as t (tenant_id),
             lateral (values (p.day, p.whole - 1), (p.whole_to, p.last_day)) as e (day, day_to),
             lateral (select o.* from rollcall.participant_coverage o
                      where o.tenant_id = t.tenant_id and o.day >= e.day and o.day <= e.day_to and o.connections > 0
                      offset 0) c
        -- Who was new on a whole day is counted.
        where e.day <= e.day_to and not (c.first_day >= p.whole and c.first_day < p.whole_to)
          and c.first_at < p.to_at and (c.last_at > p.from_at or c.first_at >= p.from_at)
          and ((c.first_at >= p.from_at and c.last_at <= p.to_at)
               or exists (select from rollcall.participation_spans s
                          where s.session_id = c.session_id and s.participant_id = c.participant_id
                            and s.disconnected_at >= p.from_at and s.connected_at < p.to_at
                            and (s.disconnected_at > p.from_at or s.connected_at >= p.from_at)))
        union
        select p.bucket, s.session_id, s.participant_id
        from rollcall.participation_spans s
        join period p on s.connected_at < p.to_at and (s.connected_at >= p.from_at or s.last_evidence_at > p.from_at)
        where s.session_id = any (p_open) and s.disconnected_at is null
          and not exists (select from rollcall.participant_coverage c
                          where c.session_id = s.session_id and c.participant_id = s.participant_id
                            and c.first_day = c.day and c.connections > 0
                            and c.day >= p.whole and c.day < p.whole_to)
    )
    select x.bucket, sum(x.participants)::bigint
    from (select f.bucket, f.participants from fresh f
          union all
          select o.bucket, count(*) from other o group by o.bucket) x
    group by x.bucket;
end
$$;

comment on function rollcall.count_participants(uuid, timestamptz[], uuid[]) is
    'Internal: participants of sessions of a tenant (null: of all) in each bucket that had any; p_open are the sessions with open connections.';
