-- The sessions with connections that are still open and may have been there in the period.
create or replace function rollcall.open_sessions(p_tenant_id uuid, p_from timestamptz, p_to timestamptz) returns uuid[]
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select coalesce(array_agg(distinct s.session_id), '{}')
        from rollcall.participation_spans s
        where s.disconnected_at is null and (p_tenant_id is null or s.tenant_id = p_tenant_id)
          and s.connected_at < p_to and greatest(s.last_evidence_at, s.connected_at) >= p_from);
end
$$;

comment on function rollcall.open_sessions(uuid, timestamptz, timestamptz) is
    'Internal: sessions of a tenant (null: of all) with open connections that touch the period.';
