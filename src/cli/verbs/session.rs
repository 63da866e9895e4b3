//! `session`: list, end, recover.

use rollcall_core::{Actor, SessionId};

use super::tenant::choose;
use crate::cli::arguments::SessionVerb;
use crate::cli::database::with_control;
use crate::cli::output::{Failure, OutputFormat, instant, or_dash, print, print_json, print_list};
use crate::config::Config;
use crate::control::Call;
use crate::control::ending::EndRequest;
use crate::control::views::SessionView;
use crate::store::sessions::SessionFilter;

pub async fn run(config: &Config, verb: SessionVerb, output: OutputFormat) -> Result<(), Failure> {
    match verb {
        SessionVerb::List { tenant, status, search, limit } => {
            let filter = SessionFilter {
                status: status.map(|status| status.as_str().to_owned()),
                text: search,
                after: None,
                limit: i64::from(limit),
            };
            let sessions = with_control(config, async |control| {
                let tenant = choose(control, &tenant).await?;
                Ok(control.sessions(tenant, &filter).await?)
            })
            .await?;
            let empty = "There are no such sessions.";
            print_list(
                output,
                &sessions,
                empty,
                &["ID", "STATUS", "TITLE", "EXTERNAL ID", "CREATED", "ENDS / ENDED"],
                row,
            )
        }
        SessionVerb::End { session_id, reason, tenant } => {
            let session = with_control(config, async |control| {
                let call = Call::new(choose(control, &tenant).await?, Actor::Operator);
                Ok(control.end_session(&call, SessionId(session_id), EndRequest { reason }).await?.value)
            })
            .await?;
            match output {
                OutputFormat::Json => print_json(&session),
                OutputFormat::Text => print(&format!("Session {} is ended.\n", session.id)),
            }
        }
        SessionVerb::Recover { session_id, tenant } => {
            let session = with_control(config, async |control| {
                let call = Call::new(choose(control, &tenant).await?, Actor::Operator);
                Ok(control.recover_session(&call, SessionId(session_id)).await?.value)
            })
            .await?;
            match output {
                OutputFormat::Json => print_json(&session),
                OutputFormat::Text => {
                    let ends = session
                        .ends_at
                        .map_or_else(String::new, |at| format!(", until {} if nobody comes", instant(at)));
                    print(&format!("Session {} is active again{ends}.\n", session.id))
                }
            }
        }
    }
}

fn row(session: &SessionView) -> Vec<String> {
    let ended = session.ended_at.map(|at| {
        let reason = session.end_reason.as_deref().unwrap_or("unknown reason");
        format!("{} ({reason})", instant(at))
    });
    let end = ended.or_else(|| session.ends_at.map(instant));
    vec![
        session.id.to_string(),
        session.status.clone(),
        or_dash(session.title.clone()),
        or_dash(session.external_id.clone()),
        instant(session.created_at),
        or_dash(end),
    ]
}
