-- Roles for people and programs. Made only where the migrating role may; what they may do is in
-- functions/privileges.sql. A role belongs to the cluster and not to the database, so it may exist already, and another
-- database may be making it at this moment.
do $$
declare
    v_role text;
begin
    foreach v_role in array array['rollcall_server', 'rollcall_billing', 'rollcall_auditor'] loop
        if exists (select from pg_catalog.pg_roles where rolname = v_role) then
            continue;
        end if;
        begin
            execute format('create role %I nologin', v_role);
            -- Settings count for the role that logs in: give the role itself LOGIN and a password to have them.
            if v_role <> 'rollcall_server' then
                execute format('alter role %I set default_transaction_read_only = on', v_role);
                execute format('alter role %I set statement_timeout = %L', v_role, '60s');
            end if;
        exception
            when insufficient_privilege then
                raise notice 'role % was not created: % may not create roles', v_role, current_user
                    using hint = 'Create it as a superuser and run the migration again if you want it.';
            when duplicate_object or unique_violation then
                raise notice 'role % was created by another database at the same time', v_role;
        end;
    end loop;
end
$$;
