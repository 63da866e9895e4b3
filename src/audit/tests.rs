//! The whole way: a server's ledger, its checkpoints outside, an export, and a verifier that is told lies.

use std::path::Path;
use std::time::Duration;

use rollcall_core::Epoch;
use tempfile::TempDir;

use super::checkpointer::Checkpointer;
use super::key::{PublicKey, SigningKey};
use super::lines::Line;
use super::note::{Note, Trust, parse_all};
use super::verifier::{Report, Severity, Verifier};
use super::{AuditError, export, hash_from_hex, hex, proof};
use crate::clock::Clock;
use crate::store::Store;
use crate::store::ledger::apply_batch;
use crate::store::tests::history::History;
use crate::store::tests::{LEASE, database, fresh_id, make_session, make_tenant, now, run};

const EVERY: Duration = Duration::from_secs(60);

struct World {
    store: Store,
    folder: TempDir,
    history: History,
    epoch: Epoch,
    applied: usize,
}

impl World {
    /// A ledger with three checkpoints.
    async fn new() -> Self {
        let store = database().await;
        let tenant = make_tenant(&store).await;
        let session = make_session(&store, tenant, fresh_id(), now()).await;
        let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
        let history = History::new(tenant, vec![session], epoch, now());
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut world = Self { store, folder, history, epoch, applied: 0 };
        let checkpointer = world.checkpointer().await;
        for round in 0..3 {
            world.go_on(round * 1_000).await;
            checkpointer.write(true).await.expect("a checkpoint");
        }
        world
    }

    async fn checkpointer(&self) -> Checkpointer {
        self.checkpointer_in("checkpoints").await
    }

    async fn checkpointer_in(&self, folder: &str) -> Checkpointer {
        let path = self.folder.path().join(folder);
        Checkpointer::open(self.store.clone(), Clock::system(), self.key(), &path, EVERY).await.expect("opens")
    }

    fn key(&self) -> SigningKey {
        SigningKey::load(&self.folder.path().join("checkpoint.key"), &Clock::system(), true).expect("a key")
    }

    /// Another thirty steps in batches of eight, and an event of the control plane.
    async fn go_on(&mut self, seed: u32) {
        for choice in 0..30 {
            self.history.step((seed + choice) * 7_919);
        }
        self.history.join(0, 0);
        self.history.mark(0);
        let mut conn = self.store.dedicated().await.expect("connection");
        for batch in self.history.records[self.applied..].chunks(8) {
            let first = self.applied as i64 + 1;
            apply_batch(&mut conn, self.epoch, first, batch, LEASE).await.expect("applies");
            self.applied += batch.len();
        }
        let session = self.history.sessions[0];
        let note =
            format!(r#"select rollcall.log_session_event('{session}', 'note', null, '{{"b": 1.50, "a": "ü"}}')"#);
        run(&self.store, note).await.expect("logged");
    }

    async fn export(&self) -> Vec<String> {
        let mut lines = Vec::new();
        export::read(&self.store, None, |line| {
            lines.push(serde_json::to_string(&line).expect("JSON"));
            Ok(())
        })
        .await
        .expect("exports");
        lines
    }

    /// What the folder outside the database has.
    fn outside(&self) -> Vec<Note> {
        let folder = self.folder.path().join("checkpoints");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).expect("folder").map(|one| one.expect("file").path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
        files.sort();
        files.iter().flat_map(|path| notes_of(path)).collect()
    }

    fn verify(&self, lines: &[String]) -> Report {
        verify(lines, &[self.key().public()], &self.outside())
    }
}

fn notes_of(path: &Path) -> Vec<Note> {
    parse_all(&std::fs::read_to_string(path).expect("readable")).expect("notes")
}

fn verify(lines: &[String], keys: &[PublicKey], outside: &[Note]) -> Report {
    let mut verifier = Verifier::new(keys.to_vec());
    for line in lines {
        verifier.take(serde_json::from_str::<Line<'_>>(line).expect("a line")).expect("an export");
    }
    verifier.compare(outside);
    verifier.finish()
}

/// The text of every error, with its place.
fn errors(report: &Report) -> Vec<String> {
    let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|one| format!("{:?} {:?} {}", one.epoch, one.seq, one.problem)).collect()
}

#[track_caller]
fn assert_found(report: &Report, wanted: &str) {
    let errors = errors(report);
    assert!(!report.intact && errors.iter().any(|error| error.contains(wanted)), "{wanted:?} is not in {errors:#?}");
}

/// The place of the n-th line of a kind.
fn place(lines: &[String], kind: &str, number: usize) -> usize {
    let start = format!("{{\"{kind}\":");
    let found = lines.iter().enumerate().filter(|(_, line)| line.starts_with(&start)).nth(number);
    found.expect("so many lines of this kind").0
}

#[tokio::test]
async fn an_untouched_export_is_intact_and_stable() {
    let world = World::new().await;
    let lines = world.export().await;
    assert_eq!(lines, world.export().await, "two exports of one state are equal");
    let report = world.verify(&lines);
    assert_eq!(errors(&report), Vec::<String>::new());
    assert!(report.intact && report.records as usize == world.applied + 3);
    // Three in the export, the same three outside.
    assert_eq!((report.checkpoints, report.signatures), (3, 6));
    assert_eq!(world.outside().len(), 3);
    let latest = std::fs::read_to_string(world.folder.path().join("checkpoints/latest")).expect("readable");
    assert_eq!(Note::parse(&latest).expect("a note"), world.outside()[2]);
}

#[tokio::test]
async fn nothing_new_makes_no_checkpoint_and_neither_does_haste() {
    let mut world = World::new().await;
    let checkpointer = world.checkpointer().await;
    checkpointer.write(true).await.expect("nothing to do");
    assert_eq!(world.outside().len(), 3);
    world.go_on(9_000).await;
    checkpointer.write(false).await.expect("too early");
    assert_eq!(world.outside().len(), 3);
    checkpointer.write(true).await.expect("a checkpoint");
    assert_eq!(world.outside().len(), 4);
}

#[tokio::test]
async fn every_change_of_an_export_is_found_and_located() {
    let world = World::new().await;
    let lines = world.export().await;
    let epoch = world.epoch.0;
    let change = |place: usize, from: &str, to: &str| {
        let mut changed = lines.clone();
        changed[place] = changed[place].replacen(from, to, 1);
        assert_ne!(changed[place], lines[place], "{from:?} is in {}", lines[place]);
        world.verify(&changed)
    };
    let event = place(&lines, "event", 7);
    assert_found(&change(event, "\"actor\":\"", "\"actor\":\"x"), "the record was altered");
    assert_found(&change(place(&lines, "mark", 0), "\"connections\":", "\"connections\":1"), "the record was altered");
    let control = place(&lines, "event", 0);
    assert_found(&change(control, "1.50", "1.51"), "Some(0) Some(1) the record was altered");
    let batch = place(&lines, "batch", 3);
    assert_found(&change(batch, "\"first_seq\":", "\"first_seq\":-"), "was changed: its hash");
    let root = format!("\"root\":\"{}", "0".repeat(4));
    let kept = &lines[batch][lines[batch].find("\"root\":\"").expect("root")..][..12];
    assert_found(&change(batch, kept, &root), "does not have the root of its records");
    let checkpoint = place(&lines, "checkpoint", 1);
    assert_found(&change(checkpoint, "\"last_seq\":", "\"last_seq\":1"), "its leaf hash is not that of its heads");

    let without = |from: usize, to: usize| {
        let mut cut = lines.clone();
        cut.drain(from..to);
        world.verify(&cut)
    };
    let seq: serde_json::Value = serde_json::from_str(&lines[event]).expect("JSON");
    let seq = seq["event"]["seq"].as_i64().expect("seq");
    assert_found(&without(event, event + 1), &format!("Some({epoch}) Some({seq}) the record is missing"));
    assert_found(&without(batch, batch + 1), "the chain is broken before batch");
    assert_found(&without(checkpoint, checkpoint + 1), "the checkpoints 2 to 2 are missing");
    assert_found(&without(lines.len() - 1, lines.len()), "the export is cut off");
    let mut headless = Verifier::new(vec![]);
    headless.take(serde_json::from_str(&lines[checkpoint]).expect("a line")).expect_err("no export");
    assert_found(&headless.finish(), "its first line is missing");
    let mut swapped = lines.clone();
    swapped.swap(event, event + 1);
    assert!(!world.verify(&swapped).intact);
}

#[tokio::test]
async fn a_cut_off_end_is_found_by_what_was_kept_outside() {
    let world = World::new().await;
    let lines = world.export().await;
    let outside = world.outside();
    let keys = [world.key().public()];
    // An export of an earlier state, whole in itself: only the checkpoints outside know more.
    let early = {
        let checkpoints: Vec<usize> = (0..3).map(|number| place(&lines, "checkpoint", number)).collect();
        let mut cut = lines.clone();
        cut.remove(checkpoints[2]);
        cut
    };
    let report = verify(&early, &keys, &outside);
    assert_found(&report, "checkpoints 3 to 3 of incarnation 1 exist outside, but not here");
    // Batches that a checkpoint saw are gone, with their records and with the count.
    let last = (0..).map_while(|number| {
        let start = "{\"batch\":";
        lines.iter().enumerate().filter(|(_, line)| line.starts_with(start)).nth(number).map(|(place, _)| place)
    });
    let last = last.last().expect("batches");
    let mut cut = lines.clone();
    cut.drain(last..lines.len() - 1);
    assert_found(&verify(&cut, &keys, &outside), "and there is no batch that ends there");
}

#[tokio::test]
async fn forged_and_foreign_signatures_are_told_apart() {
    let world = World::new().await;
    let lines = world.export().await;
    let keys = [world.key().public()];
    let stranger = tempfile::tempdir().expect("folder");
    let stranger = SigningKey::load(&stranger.path().join("key"), &Clock::system(), true).expect("key");
    assert_found(&verify(&lines, &[stranger.public()], &[]), "is not signed by a key that was given");

    let mut note = world.outside()[0].clone();
    note.root = [7; 32];
    assert_eq!(note.trust(&keys), Trust::Forged);
    assert_found(&verify(&lines, &keys, &[note.clone()]), "the signature of checkpoint 1/1 outside is forged");
    note.signatures.clear();
    note.sign(&stranger);
    assert_eq!(note.trust(&keys), Trust::Unknown);
    assert_eq!(note.trust(&[stranger.public()]), Trust::Good);
    assert_found(&verify(&lines, &[stranger.public(), keys[0]], &[note]), "outside has another root");
}

#[tokio::test]
async fn an_event_is_proven_by_its_proof_alone() {
    let world = World::new().await;
    let keys = [world.key().public()];
    let mut proven = 0;
    for line in world.export().await.iter().filter(|line| line.starts_with("{\"event\":")) {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let number = |field: &str| value["event"][field].as_i64().expect("number");
        let text = proof::prove(&world.store, number("epoch"), number("seq")).await.expect("proves");
        let holds = proof::check(&text, &keys).expect("holds");
        assert!(holds.signed);
        for (from, to) in
            [("\"actor\":\"", "\"actor\":\"x"), ("\"seq\":", "\"seq\":1"), ("\"last_seq\":", "\"last_seq\":1")]
        {
            let forged = text.replacen(from, to, 1);
            assert_ne!(forged, text);
            proof::check(&forged, &keys).expect_err("a forged proof");
        }
        let stranger = [PublicKey([9; 32])];
        proof::check(&text, &stranger).expect_err("a key of somebody else");
        proven += 1;
    }
    assert!(proven > 10, "{proven} events");
    let unknown = proof::prove(&world.store, 0, 99).await.expect_err("no such event").to_string();
    assert!(unknown.contains("no event 0-99"), "{unknown}");
}

#[tokio::test]
async fn a_restored_database_begins_a_new_incarnation() {
    let mut world = World::new().await;
    // What a restore to the second checkpoint leaves.
    let cut = "alter table rollcall.audit_checkpoints disable trigger all;
               alter table rollcall.audit_checkpoint_heads disable trigger all;
               delete from rollcall.audit_checkpoints where size = 3;
               delete from rollcall.audit_checkpoint_heads where size = 3;
               alter table rollcall.audit_checkpoints enable always trigger audit_checkpoints_append_only,
                   enable always trigger audit_checkpoints_no_truncate;
               alter table rollcall.audit_checkpoint_heads enable always trigger audit_checkpoint_heads_append_only,
                   enable always trigger audit_checkpoint_heads_no_truncate";
    run(&world.store, cut).await.expect("a superuser may");
    assert_found(&world.verify(&world.export().await), "checkpoints 3 to 3 of incarnation 1 exist outside");
    let (here, there) = (world.folder.path().join("checkpoints"), world.folder.path().join("of-another-node"));
    std::fs::create_dir(&there).expect("made");
    for file in std::fs::read_dir(&here).expect("folder").map(|file| file.expect("file").path()) {
        std::fs::copy(&file, there.join(file.file_name().expect("name"))).expect("copied");
    }
    let (one, two) = (world.checkpointer().await, world.checkpointer_in("of-another-node").await);
    world.go_on(7_000).await;
    one.write(true).await.expect("a checkpoint");
    world.go_on(8_000).await;
    two.write(true).await.expect("the other node goes on in the same incarnation");
    one.write(false).await.expect("copies what the other signed");
    let outside = world.outside();
    let places: Vec<_> = outside.iter().map(|note| (note.incarnation, note.size)).collect();
    assert_eq!(places, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]);
    let lines = world.export().await;
    let prior = format!("\"prior_root\":\"{}\"", hex(&outside[2].root));
    assert!(lines.iter().any(|line| line.contains(&prior)), "the fork is on record");
    let report = world.verify(&lines);
    assert_eq!(errors(&report).len(), 1, "the lost checkpoint stays on record: {:#?}", errors(&report));
    let sql = crate::store::tests::value(&world.store, "select count(*) from rollcall.verify_audit_chain()").await;
    assert_eq!(sql, "0");
}

#[test]
fn notes_are_read_as_they_are_written_and_nothing_else_is() {
    let folder = tempfile::tempdir().expect("folder");
    let key = SigningKey::load(&folder.path().join("key"), &Clock::system(), true).expect("key");
    let again = SigningKey::load(&folder.path().join("key"), &Clock::system(), false).expect("key");
    assert_eq!(key.public(), again.public());
    let mut note = Note::new(fresh_id(), 1, 42, [3; 32]);
    note.sign(&key);
    let text = note.to_string();
    assert_eq!(Note::parse(&text).expect("a note"), note);
    assert_eq!(parse_all(&format!("{text}\n{text}\n")).expect("two"), [note.clone(), note.clone()]);
    for bad in
        [text.replace("rollcall/", "other/"), text.replace("\n42\n", "\n42\nmore\n"), text.replace('\u{2014}', "-")]
    {
        Note::parse(&bad).expect_err(&bad);
    }
    let verifier = key.public().note_verifier(&note.origin());
    assert_eq!(PublicKey::parse(&verifier).expect("a verifier key"), key.public());
    assert_eq!(PublicKey::parse(&key.public().to_base64()).expect("a key"), key.public());
    PublicKey::parse("AAAA").expect_err("too short");
}

/// The example of golang.org/x/mod/sumdb/note, from whose documentation signed notes come.
#[test]
fn the_key_hash_is_that_of_other_implementations() {
    let key =
        PublicKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").expect("a verifier key");
    assert_eq!(hex(&key.note_hash("PeterNeumann")), "c74f20a3");
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
    let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, signature).expect("base64");
    assert!(key.verifies(text, &bytes[4..]));
}

#[test]
fn a_key_that_is_none_is_refused_and_a_missing_one_is_not_made_unasked() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("key");
    assert!(matches!(SigningKey::load(&path, &Clock::system(), false), Err(AuditError::File { .. })));
    std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").expect("written");
    assert!(matches!(SigningKey::load(&path, &Clock::system(), true), Err(AuditError::Key { .. })));
    hash_from_hex("zz").expect_err("no hash");
}
