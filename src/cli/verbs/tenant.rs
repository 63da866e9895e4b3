//! `tenant`, and which tenant the other verbs mean.

use rollcall_core::{Actor, TenantId};
use uuid::Uuid;

use crate::cli::arguments::{TenantArguments, TenantVerb};
use crate::cli::database::with_control;
use crate::cli::output::{Exit, Failure, OutputFormat, instant, print, print_json, print_list, printable};
use crate::config::Config;
use crate::control::Control;

pub async fn run(config: &Config, verb: TenantVerb, output: OutputFormat) -> Result<(), Failure> {
    match verb {
        TenantVerb::Create { name } => {
            let tenant =
                with_control(config, async |control| Ok(control.create_tenant(&Actor::Operator, &name).await?)).await?;
            match output {
                OutputFormat::Json => print_json(&tenant),
                OutputFormat::Text => {
                    let name = printable(&tenant.name);
                    print(&format!(
                        "Made tenant {name} ({}).\nNext: rollcall key create --tenant {name} backend\n",
                        tenant.id
                    ))
                }
            }
        }
        TenantVerb::List => {
            let tenants = with_control(config, async |control| Ok(control.tenants().await?)).await?;
            let empty = "There are no tenants yet. Make one with `rollcall tenant create NAME`.";
            print_list(output, &tenants, empty, &["ID", "NAME", "CREATED"], |tenant| {
                vec![tenant.id.to_string(), tenant.name.clone(), instant(tenant.created_at)]
            })
        }
    }
}

/// The named tenant, or the only one there is.
pub async fn choose(control: &Control, arguments: &TenantArguments) -> Result<TenantId, Failure> {
    if let Some(tenant) = named(control, arguments.tenant.as_deref()).await? {
        return Ok(tenant);
    }
    let tenants = control.tenants().await?;
    match tenants.as_slice() {
        [only] => Ok(TenantId(only.id)),
        [] => {
            Err(Failure::new(Exit::Failed, "there are no tenants yet")
                .hint("make one with `rollcall tenant create NAME`"))
        }
        [first, ..] => {
            let message = format!("there are {} tenants; say which one is meant", tenants.len());
            Err(Failure::new(Exit::Usage, message).hint(format!("for example --tenant {}", printable(&first.name))))
        }
    }
}

/// The tenant of this name or id.
pub async fn named(control: &Control, name: Option<&str>) -> Result<Option<TenantId>, Failure> {
    let Some(name) = name else { return Ok(None) };
    let tenant = match name.parse::<Uuid>() {
        Ok(id) => control.tenant(TenantId(id)).await?,
        Err(_) => control.tenant_named(name).await?,
    };
    Ok(Some(TenantId(tenant.id)))
}
