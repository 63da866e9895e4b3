//! Who PostgreSQL runs as. Most of these need root, to become others.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Uid, User};

use super::super::attach;
use super::super::binaries;
use super::super::identity::{Identity, choose};
use super::*;

/// In no passwd file; as with `docker run --user 54321`.
const NAMELESS_UID: u32 = 54321;

#[tokio::test]
async fn root_becomes_another_user_where_that_one_may_go() {
    if !is_root() {
        return;
    }
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(scratch.options()).await.expect("start");
        let owner = fs::metadata(scratch.cluster()).expect("cluster").uid();
        assert_ne!(owner, 0);
        assert_eq!(uid_of_process(postgres.pid()), owner);
        postgres.stop().await.expect("stop");
    })
    .await;
}

#[tokio::test]
async fn root_uses_a_namespace_below_a_closed_folder() {
    if !is_root() {
        return;
    }
    limited(async {
        let scratch = Scratch::with_mode(0o700);
        for start_number in 0..2 {
            let postgres = start(scratch.options()).await.expect("start");
            if start_number == 0 {
                write_row(&postgres).await;
            }
            assert_row_is_there(&postgres).await;
            assert_eq!(fs::metadata(scratch.cluster()).expect("cluster").uid(), 0);
            assert_eq!(uid_of_process(postgres.pid()), 0, "as seen from outside");
            assert!(attach(scratch.data_dir()).await.expect("attach").is_some());
            postgres.stop().await.expect("stop");
        }
        // The death signal has to survive the namespace too.
        let mut helper = Helper::spawn("start", &scratch.data_dir(), |_| {});
        let (_, pid) = helper.ready();
        helper.kill();
        until("the server ends by the death signal", || !is_alive(pid)).await;
    })
    .await;
}

#[tokio::test]
async fn root_runs_the_cluster_of_a_user_as_that_user() {
    if !is_root() {
        return;
    }
    limited(async {
        let scratch = Scratch::open();
        let nobody = User::from_name("nobody").expect("passwd").expect("nobody").uid;
        let data_dir = folder_of(&scratch, nobody.as_raw());
        let mut helper = Helper::spawn("start", &data_dir, Helper::as_uid(nobody.as_raw()));
        let (_, pid) = helper.ready();
        assert_eq!(uid_of_process(pid), nobody.as_raw());
        // Root may look into a user's server.
        let running = attach(&data_dir).await.expect("attach").expect("running");
        let url = running.database_url("rollcall");
        assert_eq!(ask(&url, "SELECT current_user::text").await, "rollcall");
        helper.kill();
        let postgres = start(throw_away(&data_dir)).await.expect("start as root");
        assert_eq!(uid_of_process(postgres.pid()), nobody.as_raw());
        postgres.stop().await.expect("stop");
        // Root's visit must not lock the user out.
        let mut helper = Helper::spawn("start", &data_dir, Helper::as_uid(nobody.as_raw()));
        assert_eq!(uid_of_process(helper.ready().1), nobody.as_raw());
    })
    .await;
}

#[tokio::test]
async fn uid_without_a_name_uses_a_namespace_or_says_what_to_do() {
    if !is_root() {
        return;
    }
    limited(async {
        let scratch = Scratch::open();
        let data_dir = folder_of(&scratch, NAMELESS_UID);
        assert_eq!(User::from_uid(Uid::from_raw(NAMELESS_UID)), Ok(None));
        let mut helper = Helper::spawn("start", &data_dir, Helper::as_uid(NAMELESS_UID));
        let line = helper.line().expect("an answer");
        if line.starts_with("postgresql:") {
            let (_, pid) = line.rsplit_once(' ').expect("pid");
            assert_eq!(uid_of_process(pid.parse().expect("pid")), NAMELESS_UID);
        } else {
            // User namespaces may be forbidden here.
            assert!(line.contains("/etc/passwd") && line.contains("DATABASE_URL"), "{line}");
        }
    })
    .await;
}

#[tokio::test]
async fn cluster_of_another_user_is_refused_with_a_cure() {
    if !is_root() {
        return;
    }
    limited(async {
        let scratch = Scratch::open();
        let data_dir = folder_of(&scratch, NAMELESS_UID);
        fs::create_dir(data_dir.join("postgres")).expect("root's folder");
        let mut helper = Helper::spawn("start", &data_dir, Helper::as_uid(NAMELESS_UID));
        let line = helper.line().expect("an answer");
        assert!(line.contains("belongs to uid 0") && line.contains("chown"), "{line}");
    })
    .await;
}

#[test]
fn without_a_working_identity_the_message_tells_each_try() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::with_mode(0o700);
    let survey = binaries::survey(None).expect("survey");
    let binaries = binaries::pick(survey, None).expect("PostgreSQL is installed");
    let nobody = User::from_name("nobody").expect("passwd").expect("nobody");
    let barred = Identity::Drop { uid: nobody.uid, gid: nobody.gid };
    let error = choose(vec![barred], &binaries, scratch.path(), false).expect_err("barred");
    let text = error.to_string();
    for words in ["user nobody", "cannot enter", "chmod o+x", "DATABASE_URL"] {
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn links_in_a_users_folder_do_not_lead_root_elsewhere() {
    if !is_root() {
        return;
    }
    limited(async {
        let scratch = Scratch::open();
        let data_dir = folder_of(&scratch, NAMELESS_UID);
        let victim = scratch.path().join("victim");
        for name in ["postgres.lock", "postgres.log"] {
            fs::write(&victim, "precious").expect("victim");
            let link = data_dir.join(name);
            std::os::unix::fs::symlink(&victim, &link).expect("link");
            start(throw_away(&data_dir)).await.expect_err("refused");
            assert_eq!(fs::read_to_string(&victim).expect("victim"), "precious");
            assert_eq!(fs::metadata(&victim).expect("victim").uid(), 0);
            fs::remove_file(&link).expect("unlink");
        }
    })
    .await;
}

#[tokio::test]
async fn other_users_cannot_connect() {
    if !is_root() {
        return;
    }
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(scratch.options()).await.expect("start");
        let psql = |uid: u32| {
            Command::new("psql").args([&postgres.database_url("rollcall"), "-XAtc", "SELECT 1"]).uid(uid).output()
        };
        let Ok(output) = psql(NAMELESS_UID) else {
            return eprintln!("passed over: no psql");
        };
        assert!(!output.status.success(), "the folder keeps others out");
        // And if somebody opens folder and socket, the map still does.
        let open = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("chmod");
        };
        open(postgres.socket_dir());
        open(&postgres.socket_dir().join(".s.PGSQL.5432"));
        let daemon = User::from_name("daemon").expect("passwd").expect("daemon").uid;
        let output = psql(daemon.as_raw()).expect("psql");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains("eer authentication failed"), "{message}");
        postgres.stop().await.expect("stop");
    })
    .await;
}

/// A data folder that belongs to `uid`.
fn folder_of(scratch: &Scratch, uid: u32) -> PathBuf {
    let data_dir = scratch.data_dir();
    fs::create_dir(&data_dir).expect("data folder");
    std::os::unix::fs::chown(&data_dir, Some(uid), Some(uid)).expect("chown");
    data_dir
}

fn uid_of_process(pid: i32) -> u32 {
    fs::metadata(format!("/proc/{pid}")).expect("process").uid()
}
