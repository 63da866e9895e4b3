//! `reconcile`: random participants against a server that is killed again and again; at the end the bill that SQL gives is
//! compared with what the clients truly saw, to the microsecond.

mod books;
mod cover;
mod dice;
mod director;
mod faults;
mod finality;
mod judge;
#[cfg(test)]
mod judge_tests;
mod landlord;
mod options;
mod people;
mod pipe;
mod reasons;
mod rest;
mod settings;
mod stage;
mod tab;
mod truth;
mod verdict;
mod witnessed;

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::JoinSet;

use self::books::{Books, Statement};
use self::director::{Deeds, Director};
use self::judge::{Fault, Violation, judge};
use self::rest::Rest;
use self::stage::Stage;
use self::truth::Boot;
use crate::clock::{self, steady_us};
use crate::progress::Progress;
use crate::report::Figure;
use crate::server::Server;

pub use self::faults::BY_DEFAULT;
pub use self::options::{Arguments, Options};
pub use self::verdict::Verdict;

/// Participants for each room.
const PARTICIPANTS_PER_ROOM: usize = 5;

/// How long the last participants may take to go.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the ledger may take until it has everything.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take to call itself complete: clients may testify for two minutes after a crash.
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(180);

/// Pause between two looks at the ledger.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The verb. Returns whether the ledger was right.
///
/// # Errors
/// The run could not be carried out, which says nothing about the ledger.
pub async fn command(arguments: Arguments) -> anyhow::Result<bool> {
    let json = arguments.json.clone();
    let options = Options::read(arguments)?;
    let minutes = options.estimate().as_secs_f64() / 60.0;
    eprintln!("reconcile: about {minutes:.1} minutes, seed {}", options.seed);
    let progress = Progress::new("reconcile");
    let verdict = tokio::select! {
        verdict = run(&options, &progress) => verdict?,
        // Processes die with their handles, which are dropped with the future.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    drop(progress);
    eprint!("{}", verdict.text);
    if let Some(path) = json {
        let json = serde_json::to_string_pretty(&verdict.figures)? + "\n";
        if path.as_os_str() == "-" {
            print!("{json}");
        } else {
            std::fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(verdict.figures.iter().all(Figure::passes))
}

/// Runs one reconciliation against a server of its own.
///
/// # Errors
/// The run could not be carried out, which says nothing about the ledger.
pub async fn run(options: &Options, progress: &Progress) -> anyhow::Result<Verdict> {
    progress.step(format!("seed {}: starting a server", options.seed));
    let mut server = Server::start_on(&options.server, &settings::environment(), options.site()).await?;
    let rest = Rest::new(server.url(), server.api_key())?;
    let rooms = options.participants.div_ceil(PARTICIPANTS_PER_ROOM);
    let stage = Stage::new(server.listen(), options.seed, rest, rooms);
    let stage = std::sync::Arc::new(stage);
    let started = steady_us();
    stage.witness.lock().boots.push(Boot { started, end: None });
    let outcome = perform(options, &mut server, &stage, progress).await;
    let Performed { deeds, early, statement, audit } = match outcome {
        Ok(performed) => performed,
        Err(error) => {
            save_log(options, &server);
            return Err(error);
        }
    };
    let truth = std::mem::take(&mut *stage.witness.lock());
    let mut judgement = judge(&truth, &statement, &settings::RULES);
    judgement.violations.extend(audit.violations);
    judgement.violations.extend(changed(&early, &statement));
    if !judgement.violations.is_empty() {
        save_log(options, &server);
    }
    server.stop().await?;
    let (seed, finals) = (options.seed, audit.samples);
    Ok(verdict::conclude(&verdict::Run {
        seed,
        started,
        truth: &truth,
        statement: &statement,
        judgement: &judgement,
        deeds,
        finals,
    }))
}

/// What came out of a run.
struct Performed {
    deeds: Deeds,
    /// As soon as everything was in Postgres.
    early: Statement,
    /// At the very end.
    statement: Statement,
    audit: Audit,
}

/// What was asked of the database beside the bills.
struct Audit {
    /// How often something was said to be final in the middle of the run.
    samples: usize,
    violations: Vec<Violation>,
}

async fn perform(
    options: &Options,
    server: &mut Server,
    stage: &std::sync::Arc<Stage>,
    progress: &Progress,
) -> anyhow::Result<Performed> {
    let books = Books::new(server.database_url());
    let mut actors = JoinSet::new();
    for room in 0..stage.rooms() {
        let stage = stage.clone();
        actors.spawn(async move { landlord::keep(&stage, room).await });
    }
    for number in 0..options.participants {
        let stage = stage.clone();
        actors.spawn(async move { people::live(&stage, number).await });
    }
    let auditor = tokio::spawn({
        let (stage, books) = (stage.clone(), books.clone());
        async move { finality::watch(&stage, &books).await }
    });
    let director = Director::new(server, stage);
    let plan = options.plan();
    let told = |deeds: &Deeds| {
        let joins = stage.witness.lock().connections.iter().filter(|one| one.joined.is_some()).count();
        let (done, kills) = (deeds.counts.values().sum::<usize>(), plan.kills);
        progress.step(format!(
            "{done} faults, {} of about {kills} kills, {joins} connections acknowledged and over",
            deeds.kills
        ));
    };
    let deeds = director.run(&plan, told).await?;
    progress.step("everybody goes");
    stage.finish();
    let farewell = async {
        while let Some(ended) = actors.join_next().await {
            ended.context("an actor failed")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await.context("somebody does not go")??;
    let samples = auditor.await.context("the auditor failed")?;
    landlord::close_all(stage).await?;
    let finished = steady_us();
    wait(SETTLE_TIMEOUT, || books.is_settled()).await.context("spans stay open")?;
    // Two flushes later nothing is on the way any more, which the watermark then says as well.
    wait(SETTLE_TIMEOUT, || async { Ok(steady_us() > finished + 3_000_000) }).await?;
    let early = books.read().await?;
    if !options.early {
        progress.step("waiting until the bill calls itself complete");
        wait(COMPLETE_TIMEOUT, || async { Ok(books.complete_through().await? >= finished) })
            .await
            .context("complete_through")?;
    }
    let statement = books.read().await?;
    let found = books.verify().await?;
    let mut extra = finality::changed(&books, &samples).await?;
    extra.extend(found.map(|words| Violation { fault: Fault::Verify, who: None, micros: 0, words }));
    let audit = Audit { samples: samples.len(), violations: extra };
    Ok(Performed { deeds, early, statement, audit })
}

/// Everybody was gone when the first statement was read: nothing may have changed since.
fn changed(early: &Statement, late: &Statement) -> Option<Violation> {
    let differs = early.bills != late.bills || early.spans != late.spans;
    let words = "the bill changed after everybody had gone".to_owned();
    differs.then_some(Violation { fault: Fault::NotFinal, who: None, micros: 0, words })
}

async fn wait<F: Future<Output = anyhow::Result<bool>>>(
    limit: Duration,
    mut is_so: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let give_up_at = clock::now() + limit;
    while !is_so().await? {
        if clock::now() >= give_up_at {
            bail!("not within {} s", limit.as_secs());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Ok(())
}

fn save_log(options: &Options, server: &Server) {
    if let Some(path) = &options.log
        && let Err(error) = std::fs::write(path, server.log())
    {
        eprintln!("cannot write {}: {error}", path.display());
    }
}
