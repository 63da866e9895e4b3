//! Start, stop, start again; what the server is like while it runs; adoption.

use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::{Pid, getpgrp, getsid};

use super::super::{Level, Lifetime, Options, attach, doctor};
use super::*;

#[tokio::test]
async fn data_survives_a_restart() {
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(scratch.options()).await.expect("first start");
        let (pid, socket_dir) = (postgres.pid(), postgres.socket_dir().to_owned());
        assert!(postgres.version().major >= 14);
        write_row(&postgres).await;
        postgres.stop().await.expect("stop");
        assert!(!is_alive(pid));
        assert!(!socket_dir.exists(), "the socket folder goes with the server");

        let postgres = start(scratch.options()).await.expect("second start");
        assert_row_is_there(&postgres).await;
        postgres.stop().await.expect("second stop");
    })
    .await;
}

#[tokio::test]
async fn default_is_durable_private_and_apart() {
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(Options::new(scratch.data_dir())).await.expect("start");
        let url = postgres.database_url("rollcall");
        for (setting, value) in [
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("data_checksums", "on"),
            ("listen_addresses", ""),
            ("unix_socket_permissions", "0700"),
            ("server_encoding", "UTF8"),
            ("shared_buffers", "128MB"),
            ("max_connections", "100"),
        ] {
            assert_eq!(ask(&url, &format!("SHOW {setting}")).await, value, "{setting}");
        }
        let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode();
        assert_eq!(mode(postgres.socket_dir()) & 0o777, 0o700);
        assert_eq!(mode(&scratch.cluster()) & 0o777, 0o700);
        assert_eq!(mode(postgres.log_file()) & 0o777, 0o600);
        // Own session and process group: a Ctrl-C for us is none for the server.
        let pid = Pid::from_raw(postgres.pid());
        assert_eq!(getsid(Some(pid)), Ok(pid));
        assert_ne!(getpgrp(), pid);
        postgres.stop().await.expect("stop");
    })
    .await;
}

#[tokio::test]
async fn psql_and_sqlx_take_the_same_url() {
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(scratch.options()).await.expect("start");
        let url = postgres.database_url("rollcall");
        assert_eq!(ask(&url, "SELECT current_user::text").await, "rollcall");
        let output = Command::new("psql")
            .args([&url, "-XAtc", "SELECT current_database()"])
            // What a developer's shell may hold must not lead elsewhere.
            .envs([("PGPORT", "1"), ("PGUSER", "x"), ("PGSSLMODE", "require"), ("PGHOST", "/x")])
            .output();
        match output {
            Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "rollcall\n"),
            Err(error) => eprintln!("psql is passed over: {error}"),
        }
        postgres.stop().await.expect("stop");
    })
    .await;
}

#[tokio::test]
async fn dropped_handle_shuts_down_and_frees_the_folder() {
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(scratch.options()).await.expect("start");
        let pid = postgres.pid();
        drop(postgres);
        until("the server ends", || !is_alive(pid)).await;
        let postgres = start(scratch.options()).await.expect("start again");
        postgres.stop().await.expect("stop");
    })
    .await;
}

#[tokio::test]
async fn long_and_odd_paths_work() {
    limited(async {
        let scratch = Scratch::open();
        let mut data_dir = scratch.path().join("it's \"odd\" $HOME, ü %20");
        data_dir.push(std::ffi::OsString::from_vec(b"not \xff utf-8".to_vec()));
        for _ in 0..3 {
            data_dir.push("long".repeat(50));
        }
        let postgres = start(throw_away(&data_dir)).await.expect("start");
        write_row(&postgres).await;
        assert!(attach(&data_dir).await.expect("attach").is_some());
        postgres.stop().await.expect("stop");
        let postgres = start(throw_away(&data_dir)).await.expect("restart");
        assert_row_is_there(&postgres).await;
        postgres.stop().await.expect("stop");
    })
    .await;
}

#[tokio::test]
async fn relative_path_and_hostile_environment_work() {
    limited(async {
        let scratch = Scratch::open();
        let path = PathBuf::from("some/data");
        let mut helper = Helper::spawn("start", &path, |command| {
            command
                .current_dir(scratch.path())
                .envs([("LC_ALL", "xx_XX.bogus"), ("PGPORT", "1"), ("PGDATA", "/x")])
                .envs([("PGHOST", "/x"), ("PGUSER", "x"), ("PGSSLMODE", "require")]);
        });
        let (url, pid) = helper.ready();
        let folder = scratch.path().join("some/data/postgres");
        assert_eq!(PathBuf::from(ask(&url, "SHOW data_directory").await), folder);
        helper.kill();
        until("the server ends", || !is_alive(pid)).await;
    })
    .await;
}

#[tokio::test]
async fn attach_finds_a_server_and_cannot_stop_it_under_its_owner() {
    limited(async {
        let scratch = Scratch::open();
        assert!(attach(scratch.data_dir()).await.expect("no folder").is_none());
        let postgres = start(scratch.options()).await.expect("start");
        let running = attach(scratch.data_dir()).await.expect("attach").expect("running");
        assert_eq!(running.pid(), postgres.pid());
        assert_eq!(running.database_url("x"), postgres.database_url("x"));
        let error = running.stop().await.expect_err("held");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        postgres.stop().await.expect("stop");
        assert!(attach(scratch.data_dir()).await.expect("stopped").is_none());
    })
    .await;
}

#[tokio::test]
async fn detached_server_goes_on_is_adopted_and_is_stopped_on_request() {
    limited(async {
        let scratch = Scratch::open();
        let mut helper = Helper::spawn("detach", &scratch.data_dir(), |_| {});
        let (_, pid) = helper.ready();
        helper.child.wait().expect("the helper ends");

        let postgres = start(scratch.options()).await.expect("adopt");
        assert_eq!(postgres.pid(), pid);
        assert!(postgres.is_adopted());
        write_row(&postgres).await;
        postgres.stop().await.expect("release");
        assert!(is_alive(pid), "it is not ours to end");

        let again = Options { lifetime: Lifetime::Detached, ..scratch.options() };
        let postgres = start(again).await.expect("adopt again");
        assert_row_is_there(&postgres).await;
        let died = postgres.died();
        drop(postgres);
        let running = attach(scratch.data_dir()).await.expect("attach").expect("running");
        running.stop().await.expect("stop");
        assert!(!is_alive(pid));
        died.await;
    })
    .await;
}

#[tokio::test]
async fn doctor_tells_the_state_and_changes_nothing() {
    limited(async {
        let scratch = Scratch::open();
        let level = |options: &Options, check: &str| {
            let findings = doctor(options);
            let finding = findings.iter().find(|finding| finding.check == check);
            let finding = finding.unwrap_or_else(|| panic!("no {check} in {findings:?}"));
            assert_eq!(finding.level != Level::Ok, finding.cure.is_some(), "{finding:?}");
            finding.level
        };
        let options = Options::new(scratch.data_dir());
        assert!(doctor(&options).iter().all(|finding| finding.level == Level::Ok));
        assert!(!scratch.data_dir().exists());
        let postgres = start(scratch.options()).await.expect("start");
        assert_eq!(level(&options, "lock"), Level::Warning);
        assert_eq!(level(&options, "server"), Level::Ok);
        assert_eq!(level(&scratch.options(), "durability"), Level::Warning);
        assert!(attach(scratch.data_dir()).await.expect("unharmed").is_some());
        postgres.stop().await.expect("stop");
        assert!(doctor(&options).iter().all(|finding| finding.level == Level::Ok));
        let wrong = Options { bin_dir: Some("/nowhere".into()), ..options };
        assert_eq!(level(&wrong, "binaries"), Level::Failed);
    })
    .await;
}
