//! What is refused, and whether the message says what to do.

use std::fs;

use super::super::binaries::{Binaries, Survey, Version, pick};
use super::super::{Error, attach};
use super::*;

#[tokio::test]
async fn second_start_names_the_holder() {
    limited(async {
        let scratch = Scratch::open();
        let mut helper = Helper::spawn("start", &scratch.data_dir(), |_| {});
        let (url, _) = helper.ready();
        let error = start(scratch.options()).await.expect_err("locked");
        let holder = helper.child.id();
        assert!(matches!(error, Error::Locked { holder: Some(pid), .. } if pid == holder));
        assert!(error.to_string().contains(&format!("(pid {holder})")), "{error}");
        // The refused start did the first one no harm.
        assert_eq!(ask(&url, "SELECT 'fine'").await, "fine");
    })
    .await;
}

#[tokio::test]
async fn foreign_folder_is_refused_and_untouched() {
    limited(async {
        let scratch = Scratch::open();
        fs::create_dir_all(scratch.cluster()).expect("folder");
        let file = scratch.cluster().join("thesis.txt");
        fs::write(&file, "years of work").expect("file");
        let error = start(scratch.options()).await.expect_err("not a cluster");
        assert!(matches!(error, Error::NotACluster { .. }), "{error}");
        assert_eq!(fs::read_to_string(&file).expect("file"), "years of work");
        assert!(attach(scratch.data_dir()).await.expect("none").is_none());
    })
    .await;
}

#[tokio::test]
async fn cluster_of_another_version_is_refused() {
    limited(async {
        let scratch = Scratch::open();
        fs::create_dir_all(scratch.cluster().join("global")).expect("folder");
        fs::write(scratch.cluster().join("global/pg_control"), "").expect("file");
        for (version, words) in
            [("99", ["install PostgreSQL 99", "pg_dumpall"]), ("13", ["needs 14 or newer", "pg_dumpall"])]
        {
            fs::write(scratch.cluster().join("PG_VERSION"), version).expect("file");
            let text = start(scratch.options()).await.expect_err("refused").to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn server_that_does_not_start_shows_the_end_of_its_log() {
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(scratch.options()).await.expect("start");
        postgres.stop().await.expect("stop");
        let settings = scratch.cluster().join("postgresql.conf");
        let text = fs::read_to_string(&settings).expect("settings");
        fs::write(&settings, format!("{text}\nmax_connections = lots\n")).expect("settings");
        let error = start(scratch.options()).await.expect_err("does not start");
        assert!(matches!(error, Error::Exited { .. }), "{error}");
        assert!(error.to_string().contains("max_connections"), "{error}");
        fs::write(&settings, text).expect("settings");
        let postgres = start(scratch.options()).await.expect("the lock is free again");
        postgres.stop().await.expect("stop");
    })
    .await;
}

#[tokio::test]
async fn wrong_bin_folder_is_named() {
    limited(async {
        let scratch = Scratch::open();
        let options = Options { bin_dir: Some(scratch.path().to_owned()), ..scratch.options() };
        let error = start(options).await.expect_err("no binaries");
        assert!(error.needs_installation());
        let text = error.to_string();
        assert!(text.contains("no initdb in it") && text.contains("--pg-bin"), "{text}");
        assert!(!scratch.cluster().exists());
    })
    .await;
}

#[test]
fn without_binaries_the_message_can_be_copied() {
    let error = pick(Survey::default(), None).expect_err("none");
    assert!(error.needs_installation());
    let text = error.to_string();
    for line in [
        "sudo apt-get install postgresql",
        "sudo dnf install postgresql-server",
        "brew install postgresql",
        "export DATABASE_URL=",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn new_cluster_takes_the_highest_and_an_old_one_its_own() {
    let survey = || Survey {
        usable: [(15, 2), (17, 1), (17, 4), (16, 9)]
            .map(|(major, minor)| Binaries {
                dir: format!("/{major}/{minor}").into(),
                version: Version { major, minor },
                source: "test",
            })
            .to_vec(),
        rejected: Vec::new(),
    };
    let dir = |cluster| pick(survey(), cluster).expect("one").dir;
    let path = Path::new("/data/postgres");
    assert_eq!(dir(None), Path::new("/17/4"));
    assert_eq!(dir(Some((path, 15))), Path::new("/15/2"));
    assert!(pick(survey(), Some((path, 14))).is_err());
}

#[test]
fn versions_are_read_from_every_vendor() {
    for (text, expected) in [
        ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", Some((15, 14))),
        ("17.6 (Homebrew)", Some((17, 6))),
        ("postgres (PostgreSQL) 19beta1", Some((19, 0))),
        ("postgres (PostgreSQL) 18devel", Some((18, 0))),
        ("9.6.24", Some((9, 6))),
        ("psql", None),
        ("", None),
    ] {
        let version = Version::parse(text).map(|version| (version.major, version.minor));
        assert_eq!(version, expected, "{text:?}");
    }
}
