//! Bugs that are put into the product on purpose. The simulation must find each of them; what it cannot find, it does not
//! test. `make planted` builds them in and prints what was found how fast.

use std::collections::BTreeSet;
use std::path::Path;

/// Each bug by the name in its `planted!`, and what it breaks.
pub const BUGS: &[(&str, &str)] = &[
    ("span_ends_at_detection", "a connection that fell silent is billed until somebody noticed"),
    ("grace_is_billed", "a connection that fell silent is billed for the grace of presence"),
    ("reset_is_proof", "a reset counts as the peer's word that it was there until then"),
    ("unanswered_close_is_proof", "a peer that never answered the close is billed to the close"),
    ("own_ping_is_evidence", "the server's own ping counts as a sign of life"),
    ("crash_is_billed_to_the_mark", "after a crash a connection is billed to the last mark, not to its evidence"),
    ("testimony_is_not_bounded", "a client's word on its old connection is believed beyond the last mark"),
    ("mark_loses_evidence", "evidence marks leave every second connection out"),
    ("recovery_forgets_open_spans", "what a crash left open stays open"),
    ("slow_reader_vanishes", "a slow reader is dropped without a record"),
    ("blocked_close_stays_unsaid", "who is let go while the network takes nothing is never told why"),
    ("ack_before_durable", "a join is answered before its record is on disk"),
    ("goodbye_before_durable", "a leave is answered before its record is on disk"),
    ("failed_sync_is_tried_again", "after a failed fsync the journal goes on as if the next one could be trusted"),
    ("trimmed_before_applied", "the journal forgets what Postgres does not have yet"),
    ("rewind_skips_one", "a Postgres that was set back is fed from one record too late"),
    ("full_journal_admits", "joins are let in although the journal is nearly full"),
    ("full_journal_loses_leaves", "a nearly full journal takes no leaves"),
    ("end_recorded_twice", "an end that Postgres has already is recorded again"),
    ("ended_session_comes_back", "a session that ended is loaded again from a Postgres that does not know yet"),
    ("idle_end_ignores_pings", "active people do not keep their session alive"),
    ("look_is_not_repeated", "the session's timer looks once and never again"),
    ("fired_timer_still_counts", "a timer that fired keeps later ones from being armed"),
    ("restart_gives_no_grace", "a restart ends sessions for the silence of the time when the server was down"),
    ("joins_while_ending", "somebody is let in while the end of the session is being written"),
    ("drain_lets_joins_in", "a server that stops lets people in"),
    ("one_too_many_in_the_room", "a full session takes one more"),
    ("kicked_may_return", "who was removed comes back"),
    ("kick_leaves_second_tab", "a removal closes only the first connection"),
    ("one_tab_leaves_for_all", "one tab that leaves takes its person out although another is open"),
    ("return_does_not_stop_the_grace", "the grace runs out for somebody who is back"),
    ("revoke_closes_nobody", "a withdrawn invite leaves its people inside"),
    ("resume_after_revocation", "who came by a withdrawn invite comes back by a resume token"),
    ("resume_token_is_not_checked", "a resume token with a wrong signature is taken"),
    ("revoked_invite_admits", "a withdrawn invite lets people in"),
    ("invite_expires_late", "an invite works for some seconds after its end"),
    ("invite_works_early", "an invite works before its time"),
    ("use_is_not_counted", "a limited invite lets in any number"),
    ("use_is_given_back", "the use of an invite is given back although its holder came in"),
    ("coalesced_diff_loses_leaves", "a diff of collected changes loses its leaves"),
    ("diffs_keep_one_number", "diffs do not count on, so a gap does not show"),
    ("collapse_without_snapshot", "what was dropped for a slow reader is not replaced by a snapshot"),
];

/// The names in the sources of the product.
fn planted() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("crates/core/src")];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the sources are there").map(|entry| entry.expect("readable")) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                let places = text.split("planted!(\"").skip(1);
                names.extend(places.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }
    names
}

#[test]
fn every_planted_bug_is_listed() {
    let listed: BTreeSet<String> = BUGS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(planted(), listed);
}

#[cfg(feature = "planted-bugs")]
mod hunt {
    use std::env;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::thread;

    use rollcall_core::planted::choose;

    use super::super::run::{Options, run};
    use super::BUGS;

    /// Seeds after which a bug counts as not found.
    const SEEDS_MAX: u64 = 2_000;

    /// How a bug was found.
    struct Found {
        seeds: u64,
        rule: String,
        what: String,
    }

    fn hunt(name: &'static str, seeds_max: u64) -> Option<Found> {
        (0..seeds_max).find_map(|seed| {
            let (rule, what) = look(seed, Some(name))?;
            // A seed that finds something in the product as it is proves nothing.
            look(seed, None).is_none().then_some(Found { seeds: seed + 1, rule, what })
        })
    }

    /// What a seed finds: the rule that was broken, and how.
    fn look(seed: u64, name: Option<&'static str>) -> Option<(String, String)> {
        choose(name);
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, Options::default())));
        choose(None);
        match outcome {
            Ok(Ok(_)) => None,
            Ok(Err(violation)) => Some((violation.rule.to_owned(), violation.what)),
            // An assertion of the product or of the simulated world.
            Err(panic) => Some(("panic".to_owned(), panic.downcast_ref::<String>().cloned().unwrap_or_default())),
        }
    }

    /// Bugs that few seeds find, so that `make test` can afford to look for them.
    const QUICK: &[&str] = &[
        "span_ends_at_detection",
        "grace_is_billed",
        "reset_is_proof",
        "unanswered_close_is_proof",
        "own_ping_is_evidence",
        "crash_is_billed_to_the_mark",
        "testimony_is_not_bounded",
        "recovery_forgets_open_spans",
        "slow_reader_vanishes",
        "trimmed_before_applied",
        "full_journal_loses_leaves",
        "end_recorded_twice",
        "idle_end_ignores_pings",
        "restart_gives_no_grace",
        "one_too_many_in_the_room",
        "kicked_may_return",
        "kick_leaves_second_tab",
        "return_does_not_stop_the_grace",
        "resume_after_revocation",
        "resume_token_is_not_checked",
        "revoked_invite_admits",
        "invite_works_early",
        "use_is_not_counted",
        "use_is_given_back",
        "diffs_keep_one_number",
    ];

    /// Seeds after which one of these counts as not found. Most take fewer than ten.
    const QUICK_SEEDS_MAX: u64 = 150;

    #[test]
    fn the_quick_ones_are_found() {
        let missed = hunt_all(QUICK, QUICK_SEEDS_MAX, |_, _| {});
        assert_eq!(missed, Vec::<&str>::new(), "not found in {QUICK_SEEDS_MAX} seeds");
    }

    /// `make planted`: BUG=name,name hunts these only, SEEDS=n is how long.
    #[test]
    #[ignore = "a command, see `make planted`"]
    fn every_planted_bug_is_found() {
        let wanted = env::var("BUG").unwrap_or_default();
        let wanted: Vec<_> = wanted.split(',').filter(|name| !name.is_empty()).collect();
        let seeds_max = env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS_MAX);
        let names = BUGS.iter().map(|(name, _)| *name);
        let names: Vec<_> = names.filter(|name| wanted.is_empty() || wanted.contains(name)).collect();
        println!("| bug | what it breaks | found by | seeds |\n|---|---|---|---|");
        let missed = hunt_all(&names, seeds_max, |name, found| {
            let breaks = BUGS.iter().find(|(known, _)| *known == name).map_or("", |(_, breaks)| breaks);
            match found {
                Some(Found { seeds, rule, .. }) => println!("| {name} | {breaks} | {rule} | {seeds} |"),
                None => println!("| {name} | {breaks} | nothing | more than {seeds_max} |"),
            }
            if let (false, Some(found)) = (wanted.is_empty(), found) {
                println!("{}", found.what);
            }
        });
        assert_eq!(missed, Vec::<&str>::new(), "not found in {seeds_max} seeds");
    }

    /// Hunts each on a core of its own, tells of each when it is over, and returns those that were not found.
    fn hunt_all(
        names: &[&'static str],
        seeds_max: u64,
        tell: impl Fn(&'static str, Option<&Found>) + Sync,
    ) -> Vec<&'static str> {
        // Panics of a product with a bug are findings; their traces are of no interest.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some(name) = names.get(next.fetch_add(1, Relaxed)) {
                        let found = hunt(name, seeds_max);
                        tell(name, found.as_ref());
                        if found.is_none() {
                            missed.lock().expect("plain data").push(*name);
                        }
                    }
                });
            }
        });
        std::panic::set_hook(hook);
        missed.into_inner().expect("plain data")
    }
}
