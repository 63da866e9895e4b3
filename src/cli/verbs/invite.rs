//! `invite`: create, list, revoke.

use chrono::{DateTime, Utc};
use rollcall_core::{Actor, InviteId, SessionId};

use super::tenant::choose;
use crate::cli::arguments::InviteVerb;
use crate::cli::database::with_control;
use crate::cli::output::{Failure, OutputFormat, instant, print, print_json, print_list};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Call;
use crate::control::invites::NewInvite;
use crate::control::views::InviteView;
use crate::store::mapping::to_utc;

pub async fn run(config: &Config, verb: InviteVerb, output: OutputFormat) -> Result<(), Failure> {
    match verb {
        InviteVerb::Create { session_id, tenant, role, expires_in_s, max_uses, identity, name } => {
            let new = NewInvite { role, expires_in_s, max_uses, identity, name, ..NewInvite::default() };
            let created = with_control(config, async |control| {
                let call = Call::new(choose(control, &tenant).await?, Actor::Operator);
                Ok(control.create_invite(&call, SessionId(session_id), new).await?.value)
            })
            .await?;
            match output {
                OutputFormat::Json => print_json(&created),
                OutputFormat::Text => print(&format!(
                    "Made invite {} for role {}, good until {}.\n\n  {}\n\nThe link is shown only now: send it.\n",
                    created.invite.id,
                    created.invite.role,
                    instant(created.invite.expires_at),
                    created.url
                )),
            }
        }
        InviteVerb::List { session_id, tenant, limit } => {
            let invites = with_control(config, async |control| {
                let tenant = choose(control, &tenant).await?;
                Ok(control.invites(tenant, SessionId(session_id), None, i64::from(limit)).await?)
            })
            .await?;
            let now = to_utc(Clock::system().now());
            let empty = "This session has no invites yet. Make one with `rollcall invite create SESSION_ID`.";
            print_list(output, &invites, empty, &["ID", "ROLE", "USES", "EXPIRES", "STATUS"], |invite| row(invite, now))
        }
        InviteVerb::Revoke { invite_id, tenant } => {
            let invite = with_control(config, async |control| {
                let call = Call::new(choose(control, &tenant).await?, Actor::Operator);
                Ok(control.revoke_invite(&call, InviteId(invite_id)).await?)
            })
            .await?;
            match output {
                OutputFormat::Json => print_json(&invite),
                OutputFormat::Text => print(&format!("Invite {} is revoked.\n", invite.id)),
            }
        }
    }
}

fn row(invite: &InviteView, now: DateTime<Utc>) -> Vec<String> {
    let used_up = invite.max_uses.is_some_and(|max| invite.uses >= max);
    let status = if invite.revoked_at.is_some() {
        "revoked"
    } else if invite.expires_at <= now {
        "expired"
    } else if used_up {
        "used up"
    } else if invite.not_before.is_some_and(|from| from > now) {
        "not yet valid"
    } else {
        "usable"
    };
    let uses = invite.max_uses.map_or_else(|| invite.uses.to_string(), |max| format!("{} of {max}", invite.uses));
    vec![invite.id.to_string(), invite.role.clone(), uses, instant(invite.expires_at), status.to_owned()]
}
