-- How many participants were there in a period, each once; those with connections that are still open among them.
--
-- Whole days (UTC): the new ones of each day, and once each those who were there on an earlier day already. Only at the
-- two ends of a period, where a day is cut, and for open connections single participants are looked at.
create or replace function rollcall.count_participants(
    p_tenant_id uuid, p_from timestamptz, p_to timestamptz, p_open uuid[]
) returns bigint
    language plpgsql stable set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    v_day date := (p_from at time zone 'UTC')::date;
    v_last_day date := ((p_to - interval '1 microsecond') at time zone 'UTC')::date;
    v_whole date := v_day + (v_day::timestamp at time zone 'UTC' < p_from)::integer;
    v_whole_to date := v_last_day + 1 - (p_to < (v_last_day + 1)::timestamp at time zone 'UTC')::integer;
    v_tenants uuid[] := case when p_tenant_id is null then array(select t.tenant_id from rollcall.tenants t)
                             else array[p_tenant_id] end;
    v_new bigint;
    v_others bigint;
begin
    v_whole_to := greatest(v_whole, v_whole_to);
    select coalesce(sum(u.participants_new), 0) into v_new
    from (select d.participants_new from rollcall.usage_day d
          where p_tenant_id is not null and d.tenant_id = p_tenant_id and d.day >= v_whole and d.day < v_whole_to
          union all
          select d.participants_new from rollcall.usage_day d
          where p_tenant_id is null and d.day >= v_whole and d.day < v_whole_to) u;

    select count(*) into v_others
    from (select c.session_id, c.participant_id
          from unnest(v_tenants) as t (tenant_id),
               lateral (select o.* from rollcall.participant_coverage o
                        where o.tenant_id = t.tenant_id and o.day > o.first_day and o.day >= v_whole and o.day < v_whole_to
                          and o.first_day < v_whole and o.connections > 0 offset 0) c
          union
          select c.session_id, c.participant_id
          from unnest(v_tenants) as t (tenant_id), (values (v_day, v_whole - 1), (v_whole_to, v_last_day)) as e (day, day_to),
               lateral (select o.* from rollcall.participant_coverage o
                        where o.tenant_id = t.tenant_id and o.day >= e.day and o.day <= e.day_to and o.connections > 0
                        offset 0) c
          -- Who was new on a whole day is counted.
          where e.day <= e.day_to and not (c.first_day >= v_whole and c.first_day < v_whole_to)
            and c.first_at < p_to and (c.last_at > p_from or c.first_at >= p_from)
            and ((c.first_at >= p_from and c.last_at <= p_to)
                 or exists (select from rollcall.participation_spans s
                            where s.session_id = c.session_id and s.participant_id = c.participant_id
                              and s.disconnected_at >= p_from and s.connected_at < p_to
                              and (s.disconnected_at > p_from or s.connected_at >= p_from)))
          union
          select s.session_id, s.participant_id
          from rollcall.participation_spans s
          where s.session_id = any (p_open) and s.disconnected_at is null and s.connected_at < p_to
            and (s.connected_at >= p_from or s.last_evidence_at > p_from)
            and not exists (select from rollcall.participant_coverage c
                            where c.session_id = s.session_id and c.participant_id = s.participant_id
                              and c.first_day = c.day and c.connections > 0
                              and c.day >= v_whole and c.day < v_whole_to)) x;
    return v_new + v_others;
end
$$;

comment on function rollcall.count_participants(uuid, timestamptz, timestamptz, uuid[]) is
    'Internal: participants of sessions of a tenant (null: of all) in [p_from, p_to); p_open are the sessions with open connections.';
