//! API keys of a tenant and what they permit.

use std::fmt;
use std::str::FromStr;

use rollcall_core::{Actor, TenantId};
use serde_json::json;
use uuid::Uuid;

use super::validation::{LABEL_CHARACTERS_MAX, Violations};
use super::views::KeyView;
use super::{ApiKey, Control, ControlError};
use crate::store::audit::{self, ControlEvent};
use crate::store::keys::{self, KeyRow, Revoked};

/// What a key permits. `admin` includes `write`, which includes `read`; `billing` reads the trail, usage and analytics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Admin,
    Write,
    Read,
    Billing,
}

/// The text is not a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scope is one of admin, write, read, billing")]
pub struct ScopeError;

impl Scope {
    pub const ALL: [Scope; 4] = [Scope::Admin, Scope::Write, Scope::Read, Scope::Billing];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Write => "write",
            Self::Read => "read",
            Self::Billing => "billing",
        }
    }

    /// Whether a key with this scope may do what needs `other`. Who may read everything may also read the bill.
    pub const fn includes(self, other: Scope) -> bool {
        match self {
            Self::Admin => true,
            Self::Write => !matches!(other, Self::Admin),
            Self::Read => matches!(other, Self::Read | Self::Billing),
            Self::Billing => matches!(other, Self::Billing),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(ScopeError)
    }
}

/// Whose key it is and what it permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOwner {
    pub key_id: Uuid,
    pub tenant: TenantId,
    pub scopes: Vec<Scope>,
}

impl KeyOwner {
    pub fn permits(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.includes(needed))
    }
}

impl Control {
    /// The key itself is in the answer and nowhere else.
    ///
    /// # Errors
    /// The name or the scopes are not valid, no such tenant, or the database is away.
    pub async fn create_key(
        &self,
        actor: &Actor,
        tenant: TenantId,
        name: &str,
        scopes: &[Scope],
    ) -> Result<(KeyView, ApiKey), ControlError> {
        let key = ApiKey::from_random(self.clock.random_bytes());
        let view = self.import_key(actor, tenant, name, scopes, &key).await?;
        Ok((view, key))
    }

    /// Like [`Control::create_key`] with a key that was made elsewhere, as the placeholder key of `dev` is. Importing it
    /// again changes nothing, not even that it was revoked.
    ///
    /// # Errors
    /// As [`Control::create_key`].
    pub async fn import_key(
        &self,
        actor: &Actor,
        tenant: TenantId,
        name: &str,
        scopes: &[Scope],
        key: &ApiKey,
    ) -> Result<KeyView, ControlError> {
        let mut violations = Violations::default();
        violations.characters("/name", name, LABEL_CHARACTERS_MAX);
        if scopes.is_empty() {
            violations.add("/scopes", "must name at least one of admin, write, read, billing");
        }
        violations.into_result()?;
        self.tenant(tenant).await?;
        let now = self.now();
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let row = KeyRow {
            key_id: self.clock.uuid_v7(),
            tenant_id: tenant.0,
            name: name.to_owned(),
            key_hint: key.hint().to_owned(),
            scopes: scopes.iter().map(Scope::to_string).collect(),
            created_at: now,
            revoked_at: None,
        };
        let mut transaction = self.begin().await?;
        if !keys::insert(&mut transaction, &row, &key.hash()).await? {
            let known = keys::find(&self.store, tenant, &key.hash()).await?;
            return known.map(key_view).ok_or(ControlError::KeyOfAnotherTenant);
        }
        let event = ControlEvent {
            tenant,
            session: None,
            participant: None,
            event_type: "key_created",
            actor,
            metadata: json!({ "key_id": row.key_id, "scopes": row.scopes }),
            at: now,
        };
        audit::log_control(&mut transaction, event).await?;
        self.commit(transaction).await?;
        Ok(key_view(row))
    }

    /// Oldest first, revoked ones included.
    ///
    /// # Errors
    /// The database is away.
    pub async fn keys(&self, tenant: TenantId) -> Result<Vec<KeyView>, ControlError> {
        Ok(keys::list(&self.store, tenant).await?.into_iter().map(key_view).collect())
    }

    /// Running servers refuse the key when their short memory of it is over. Revoking twice changes nothing.
    ///
    /// # Errors
    /// The tenant has no such key, or the database is away.
    pub async fn revoke_key(&self, actor: &Actor, tenant: TenantId, key: Uuid) -> Result<(), ControlError> {
        let now = self.now();
        let mut transaction = self.begin().await?;
        match keys::revoke(&mut transaction, tenant, key, now).await? {
            Revoked::Unknown => return Err(ControlError::KeyNotFound),
            Revoked::Before => return Ok(()),
            Revoked::Now => {}
        }
        let event = ControlEvent {
            tenant,
            session: None,
            participant: None,
            event_type: "key_revoked",
            actor,
            metadata: json!({ "key_id": key }),
            at: now,
        };
        audit::log_control(&mut transaction, event).await?;
        self.commit(transaction).await
    }

    /// Whose key this is; `None` for one that is unknown or revoked.
    ///
    /// # Errors
    /// The database is away.
    pub async fn key_owner(&self, key: &ApiKey) -> Result<Option<KeyOwner>, ControlError> {
        let row = keys::find_usable(&self.store, &key.hash()).await?;
        Ok(row.map(|row| KeyOwner {
            key_id: row.key_id,
            tenant: TenantId(row.tenant_id),
            scopes: row.scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
        }))
    }
}

fn key_view(row: KeyRow) -> KeyView {
    KeyView {
        id: row.key_id,
        tenant_id: row.tenant_id,
        name: row.name,
        key_hint: row.key_hint,
        scopes: row.scopes,
        created_at: row.created_at,
        revoked_at: row.revoked_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_include_what_they_should_and_no_more() {
        use Scope::{Admin, Billing, Read, Write};
        let included = |scope: Scope| Scope::ALL.into_iter().filter(|other| scope.includes(*other)).collect::<Vec<_>>();
        assert_eq!(included(Admin), [Admin, Write, Read, Billing]);
        assert_eq!(included(Write), [Write, Read, Billing]);
        assert_eq!(included(Read), [Read, Billing]);
        assert_eq!(included(Billing), [Billing]);
    }
}
