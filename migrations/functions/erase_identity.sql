-- Erases what is known of a person under this identity: names, the identity itself, the app's state, in all sessions of the
-- tenant. The audit trail and the metered time stay: they name the person by participant_id only, which without the
-- identity leads to nobody. Each participant gets an event participant_erased.
--
-- Somebody who is present is not erased: the server would write the name again.
create or replace function rollcall.erase_identity(p_tenant_id uuid, p_identity text, p_actor text default 'operator')
    returns table (session_id uuid, participant_id uuid)
    language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_present uuid;
    v_person record;
begin
    if p_identity is null or p_identity = '' or p_identity like 'erased:%' then
        raise exception 'identity "%" cannot be erased', coalesce(p_identity, 'null')
            using errcode = 'invalid_parameter_value', hint = 'Give the identity as rollcall.participants has it.';
    end if;
    -- In the lock order of every writer: sessions, then participants.
    perform from rollcall.sessions s
    where s.session_id in (select p.session_id from rollcall.participants p where p.tenant_id = p_tenant_id and p.identity = p_identity
                           union select i.session_id from rollcall.invites i where i.tenant_id = p_tenant_id and i.identity = p_identity)
    order by s.session_id for no key update;
    perform from rollcall.participants p where p.tenant_id = p_tenant_id and p.identity = p_identity
    order by p.session_id, p.participant_id for update;
    select p.session_id into v_present from rollcall.participants p
    where p.tenant_id = p_tenant_id and p.identity = p_identity and p.status <> 'left' limit 1;
    if found then
        raise exception 'identity "%" is present in session %', p_identity, v_present
            using errcode = 'object_in_use', hint = 'End the session or remove the participant first, then erase.';
    end if;

    update rollcall.invites i set name = null, identity = null, revoked_at = coalesce(i.revoked_at, clock_timestamp())
    where i.tenant_id = p_tenant_id and i.identity = p_identity;
    for v_person in
        select p.session_id, p.participant_id from rollcall.participants p
        where p.tenant_id = p_tenant_id and p.identity = p_identity order by p.session_id, p.participant_id
    loop
        delete from rollcall.participant_pii n
        where n.session_id = v_person.session_id and n.participant_id = v_person.participant_id;
        -- The name in an invite that only this person used is this person's.
        update rollcall.invites i set name = null
        where i.name is not null
          and exists (select from rollcall.invite_uses u
                      where u.invite_id = i.invite_id and u.participant_id = v_person.participant_id)
          and not exists (select from rollcall.invite_uses u
                          where u.invite_id = i.invite_id and u.participant_id <> v_person.participant_id);
        update rollcall.participants p set identity = 'erased:' || p.participant_id, state = null
        where p.session_id = v_person.session_id and p.participant_id = v_person.participant_id;
        session_id := v_person.session_id;
        participant_id := v_person.participant_id;
        perform rollcall.log_control_event(p_tenant_id, session_id, participant_id, 'participant_erased', p_actor, '{}');
        return next;
    end loop;
end
$$;

comment on function rollcall.erase_identity(uuid, text, text) is
    'Erases the personal data of an identity in all sessions of a tenant; the trail and the metered time stay. One row per participant.';
