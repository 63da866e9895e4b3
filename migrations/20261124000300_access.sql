-- Who sees which tenant. What the roles may do at all is in functions/privileges.sql.

create table rollcall.tenant_logins (
    login name not null,
    tenant_id uuid not null,
    bound_at timestamptz not null default clock_timestamp(),
    constraint tenant_logins_pkey primary key (login),
    constraint tenant_logins_tenant_fkey foreign key (tenant_id) references rollcall.tenants (tenant_id)
);
comment on table rollcall.tenant_logins is
    'Logins that see one tenant only, for a tenant''s own analysts and auditors. Whoever may set rollcall.tenant_id may also reset it; a row here cannot be escaped.';
comment on column rollcall.tenant_logins.login is 'The role that logs in (session_user), a member of rollcall_billing or rollcall_auditor.';
