//! What `dev` prepares so that a newcomer can start: a tenant, an API key, a demo session and invites into it, for a
//! guest and for a host.

use rollcall_core::Actor;

use super::{App, AppError};
use crate::cli::banner::Demo;
use crate::control::invites::NewInvite;
use crate::control::keys::Scope;
use crate::control::sessions::NewSession;
use crate::control::{ApiKey, Call, ControlError};

/// The tenant of development.
const TENANT: &str = "dev";
/// The app's own name of the demo session.
const SESSION: &str = "demo";

/// Makes what is missing. The tenant and the key stay the same from start to start; the invite is new, because tokens
/// are not kept.
pub(super) async fn prepare_demo(app: &App) -> Result<Demo, AppError> {
    prepare(app).await.map_err(AppError::Demo)
}

async fn prepare(app: &App) -> Result<Demo, ControlError> {
    let control = &app.control;
    let tenant = match control.tenant_named(TENANT).await {
        Ok(tenant) => tenant,
        Err(ControlError::TenantNotFound) => control.create_tenant(&Actor::Operator, TENANT).await?,
        Err(error) => return Err(error),
    };
    let tenant_id = rollcall_core::TenantId(tenant.id);
    // Derived from the development root key, so that scripts can keep it.
    let key = ApiKey::from_random(control.root_key().derive(b"rollcall dev api key", &[tenant_id.0.as_bytes()]));
    control.import_key(&Actor::Operator, tenant_id, "dev", &[Scope::Admin], &key).await?;
    let call = Call::new(tenant_id, Actor::Operator);
    let session = match control.active_session_named(tenant_id, SESSION).await? {
        Some(session) => session,
        None => {
            let new = NewSession {
                external_id: Some(SESSION.to_owned()),
                title: Some("Demo session".to_owned()),
                ..NewSession::default()
            };
            control.create_session(&call, new).await?.value
        }
    };
    let session_id = rollcall_core::SessionId(session.id);
    let invite = control.create_invite(&call, session_id, NewInvite::default()).await?.value;
    let host = NewInvite { role: "host".to_owned(), ..NewInvite::default() };
    let host_invite = control.create_invite(&call, session_id, host).await?.value;
    Ok(Demo {
        api_key: key.expose().to_owned(),
        tenant_id: tenant.id,
        session_id: session.id,
        invite_token: invite.token,
        invite_url: invite.url,
        host_invite_url: host_invite.url,
    })
}
