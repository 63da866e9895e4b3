//! `key`: API keys of a tenant.

use rollcall_core::Actor;
use serde_json::json;

use super::tenant::choose;
use crate::cli::arguments::{KeyVerb, ScopeArgument};
use crate::cli::database::with_control;
use crate::cli::output::{Failure, OutputFormat, instant, print, print_json, print_list, printable};
use crate::config::Config;
use crate::control::keys::Scope;

pub async fn run(config: &Config, verb: KeyVerb, output: OutputFormat) -> Result<(), Failure> {
    match verb {
        KeyVerb::Create { name, tenant, scope } => {
            let scopes: Vec<Scope> = scope.into_iter().map(Scope::from).collect();
            let (view, key) = with_control(config, async |control| {
                let tenant = choose(control, &tenant).await?;
                Ok(control.create_key(&Actor::Operator, tenant, &name, &scopes).await?)
            })
            .await?;
            match output {
                OutputFormat::Json => {
                    let mut value = json!(view);
                    value["key"] = json!(key.expose());
                    print_json(&value)
                }
                OutputFormat::Text => {
                    let (name, scopes) = (printable(&view.name), view.scopes.join(", "));
                    print(&format!(
                        "Made key {name} ({}) with scopes {scopes}.\n\n  {}\n\nIt is shown only now: keep it.\n",
                        view.id,
                        key.expose()
                    ))
                }
            }
        }
        KeyVerb::List { tenant } => {
            let keys = with_control(config, async |control| {
                let tenant = choose(control, &tenant).await?;
                Ok(control.keys(tenant).await?)
            })
            .await?;
            let empty = "This tenant has no API keys yet. Make one with `rollcall key create NAME`.";
            print_list(output, &keys, empty, &["ID", "NAME", "KEY", "SCOPES", "CREATED", "STATUS"], |key| {
                let status =
                    key.revoked_at.map_or_else(|| "usable".to_owned(), |at| format!("revoked {}", instant(at)));
                let hint = format!("{}…", key.key_hint);
                vec![key.id.to_string(), key.name.clone(), hint, key.scopes.join(","), instant(key.created_at), status]
            })
        }
        KeyVerb::Revoke { key_id, tenant } => {
            with_control(config, async |control| {
                let tenant = choose(control, &tenant).await?;
                Ok(control.revoke_key(&Actor::Operator, tenant, key_id).await?)
            })
            .await?;
            match output {
                OutputFormat::Json => print_json(&json!({ "id": key_id, "revoked": true })),
                OutputFormat::Text => print(&format!("Key {key_id} is revoked.\n")),
            }
        }
    }
}

impl From<ScopeArgument> for Scope {
    fn from(scope: ScopeArgument) -> Scope {
        match scope {
            ScopeArgument::Admin => Scope::Admin,
            ScopeArgument::Write => Scope::Write,
            ScopeArgument::Read => Scope::Read,
            ScopeArgument::Billing => Scope::Billing,
        }
    }
}
