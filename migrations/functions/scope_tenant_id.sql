-- The tenant that the reading roles are narrowed to: the one a login is bound to, else the setting rollcall.tenant_id,
-- else null, which means all of them: the billing department of the operator bills every tenant.
-- The policies call it in a sub-select, so that it runs once for a statement and not once for a row.
create or replace function rollcall.scope_tenant_id() returns uuid
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    v_setting text := current_setting('rollcall.tenant_id', true);
    v_tenant uuid;
begin
    select l.tenant_id into v_tenant from rollcall.tenant_logins l where l.login = session_user;
    if found then
        return v_tenant;
    end if;
    return nullif(v_setting, '')::uuid;
exception when invalid_text_representation then
    raise exception 'the setting rollcall.tenant_id is "%", which is not the id of a tenant', v_setting
        using errcode = 'invalid_parameter_value',
              hint = 'set rollcall.tenant_id = ''<id out of rollcall.tenants>''; or reset rollcall.tenant_id to see all.';
end
$$;

comment on function rollcall.scope_tenant_id() is
    'The tenant that this login or the setting rollcall.tenant_id narrows the reading roles to; null: all tenants.';
