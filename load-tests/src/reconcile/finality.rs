//! `complete_through` says up to when a bill is final. It is asked for in the middle of everything, together with the bills
//! up to then; at the end they must be the same.

use super::books::{Books, FinalPart};
use super::dice::Dice;
use super::judge::{Fault, Violation};
use super::stage::Stage;

/// What was said to be final at some time during the run.
#[derive(Debug)]
pub struct Sample {
    complete_through: i64,
    parts: Vec<FinalPart>,
}

/// Asks again and again until the run is over. A Postgres that hangs makes it wait.
pub async fn watch(stage: &Stage, books: &Books) -> Vec<Sample> {
    let mut dice = Dice::for_actor(stage.seed, "auditor", 0);
    let mut samples: Vec<Sample> = Vec::new();
    while stage.pause(dice.millis(1_000..8_000)).await {
        let parts = books.parts_now().await.unwrap_or_default();
        // The same instant again says nothing new.
        let through = parts.first().map(|part| part.through);
        if let Some(complete_through) =
            through.filter(|at| samples.last().is_none_or(|last| last.complete_through < *at))
        {
            samples.push(Sample { complete_through, parts });
        }
    }
    samples
}

/// What has changed since.
///
/// # Errors
/// The database does not answer.
pub async fn changed(books: &Books, samples: &[Sample]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for sample in samples {
        let parts = books.parts_through(sample.complete_through).await?;
        let (then, now) = (sample.parts.iter(), &parts);
        for part in then.filter(|part| !now.contains(part)) {
            let who = (part.session.clone(), part.participant.clone());
            let same = parts.iter().find(|one| (&one.session, &one.participant) == (&who.0, &who.1));
            let micros = same.map_or(part.billable_us, |one| (one.billable_us - part.billable_us).abs());
            let words = format!("was final through {} and is {same:?} now: {part:?}", sample.complete_through);
            violations.push(Violation { fault: Fault::NotFinal, who: Some(who), micros, words });
        }
        let came = parts.iter().filter(|one| {
            one.billable_us > 0
                && !sample
                    .parts
                    .iter()
                    .any(|part| (&part.session, &part.participant) == (&one.session, &one.participant))
        });
        for part in came {
            let who = (part.session.clone(), part.participant.clone());
            let words = format!("was not in what was final through {}: {part:?}", sample.complete_through);
            violations.push(Violation { fault: Fault::NotFinal, who: Some(who), micros: part.billable_us, words });
        }
    }
    Ok(violations)
}
