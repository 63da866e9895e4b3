//! `identity`: erase what is known of a person.

use rollcall_core::Actor;
use serde_json::json;

use super::tenant::choose;
use crate::cli::arguments::IdentityVerb;
use crate::cli::database::with_control;
use crate::cli::output::{Exit, Failure, OutputFormat, print, print_json};
use crate::config::Config;
use crate::control::participants::Erasure;

pub async fn run(config: &Config, verb: IdentityVerb, output: OutputFormat) -> Result<(), Failure> {
    let IdentityVerb::Erase { identity, tenant } = verb;
    let erasure = with_control(config, async |control| {
        let tenant = choose(control, &tenant).await?;
        Ok(control.erase_identity(&Actor::Operator, tenant, &identity).await?)
    })
    .await?;
    let erased = match erasure {
        Erasure::Done(erased) => erased,
        Erasure::Present => {
            let failure = Failure::new(Exit::Failed, "the person is in a session at this moment; nothing was erased");
            return Err(failure.hint("end the session or remove the participant first"));
        }
    };
    match output {
        OutputFormat::Json => {
            let each = |(session, participant): &(uuid::Uuid, uuid::Uuid)| json!({ "session_id": session, "participant_id": participant });
            print_json(&json!({ "data": erased.iter().map(each).collect::<Vec<_>>() }))
        }
        OutputFormat::Text if erased.is_empty() => print("Nobody has this identity; nothing was erased.\n"),
        OutputFormat::Text => print(&format!(
            "Erased in {} session(s). The audit trail and the metered time stay, under the participant id alone.\n",
            erased.len()
        )),
    }
}
