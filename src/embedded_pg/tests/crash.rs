//! Killed owners, killed servers, interrupted starts, stale files.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

#[tokio::test]
async fn killed_owner_leaves_nothing_running() {
    limited(async {
        let scratch = Scratch::open();
        let mut helper = Helper::spawn("start", &scratch.data_dir(), |_| {});
        let (url, pid) = helper.ready();
        ask(&url, "SELECT set_config('search_path', '', false)").await;
        helper.kill();
        if cfg!(target_os = "linux") {
            until("the server ends by the death signal", || !is_alive(pid)).await;
        }
        let log = fs::read_to_string(scratch.data_dir().join("postgres.log")).expect("log");
        assert!(log.contains("fast shutdown"), "{log}");
    })
    .await;
}

#[tokio::test]
async fn start_right_after_a_killed_owner_keeps_the_data() {
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(scratch.options()).await.expect("start");
        write_row(&postgres).await;
        postgres.stop().await.expect("stop");
        // Several times, since the server may be caught at any point of its shutdown.
        for _ in 0..5 {
            let mut helper = Helper::spawn("start", &scratch.data_dir(), |_| {});
            let (_, pid) = helper.ready();
            helper.kill();
            let postgres = start(scratch.options()).await.expect("start over the orphan");
            assert!(!is_alive(pid), "the orphan is gone before the new one starts");
            assert!(!postgres.is_adopted());
            assert_row_is_there(&postgres).await;
            postgres.stop().await.expect("stop");
        }
    })
    .await;
}

#[tokio::test]
async fn killed_server_is_noticed_and_recovers() {
    limited(async {
        let scratch = Scratch::open();
        let options = Options::new(scratch.data_dir());
        let postgres = start(options.clone()).await.expect("start");
        write_row(&postgres).await;
        let died = postgres.died();
        kill_9(postgres.pid());
        let reason = died.await;
        assert!(reason.contains('9'), "{reason}");
        assert!(postgres.died().await.contains('9'), "asked late, it still tells");
        postgres.stop().await.expect("stopping the dead is fine");
        let postgres = start(options).await.expect("recover");
        assert_row_is_there(&postgres).await;
        let died = postgres.died();
        postgres.stop().await.expect("stop");
        let silence = timeout(Duration::from_millis(200), died).await;
        assert!(silence.is_err(), "a stop is no death");
    })
    .await;
}

#[tokio::test]
async fn stale_pid_file_is_not_a_running_server() {
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(scratch.options()).await.expect("start");
        write_row(&postgres).await;
        let socket_dir = postgres.socket_dir().to_owned();
        let pid_file = scratch.cluster().join("postmaster.pid");
        let text = fs::read_to_string(&pid_file).expect("pid file");
        let own_pid = postgres.pid();
        postgres.stop().await.expect("stop");

        // An innocent program of the server's user got the pid: PostgreSQL alone would refuse to start.
        let owner = fs::metadata(scratch.cluster()).expect("cluster").uid();
        let mut innocent = Command::new("sleep");
        innocent.arg("600");
        if is_root() {
            innocent.uid(owner);
        }
        let mut innocent = innocent.spawn().expect("sleep");
        for pid in [innocent.id().to_string(), own_pid.to_string(), "1".to_owned()] {
            let (_, rest) = text.split_once('\n').expect("lines");
            fs::write(&pid_file, format!("{pid}\n{rest}")).expect("stale file");
            std::os::unix::fs::chown(&pid_file, Some(owner), None).expect("chown");
            fs::create_dir_all(&socket_dir).expect("socket folder");
            let lock = socket_dir.join(".s.PGSQL.5432.lock");
            fs::write(&lock, format!("{pid}\n{rest}")).expect("stale socket lock");

            let postgres = start(scratch.options()).await.expect("start over a stale file");
            assert_ne!(postgres.pid().to_string(), pid);
            assert_row_is_there(&postgres).await;
            postgres.stop().await.expect("stop");
        }
        assert_eq!(innocent.try_wait().expect("state"), None, "the innocent lives");
        innocent.kill().expect("kill");
        innocent.wait().expect("reap");
    })
    .await;
}

#[tokio::test]
async fn interrupted_initdb_is_done_again() {
    limited(async {
        let scratch = Scratch::open();
        let mut helper = Helper::spawn("start", &scratch.data_dir(), |_| {});
        let name = format!("postgres.new.{}.0/base", helper.child.id());
        let half = scratch.data_dir().join(name);
        until("initdb is at work", || half.exists()).await;
        helper.kill();
        // What an initdb leaves that was killed too.
        let dead = scratch.data_dir().join("postgres.new.7.0/base/1");
        fs::create_dir_all(&dead).expect("half-made folder");
        fs::write(dead.join("1259"), "half").expect("half-made file");

        let postgres = start(scratch.options()).await.expect("start");
        write_row(&postgres).await;
        assert!(!scratch.data_dir().join("postgres.new.7.0").exists());
        postgres.stop().await.expect("stop");
    })
    .await;
}

#[tokio::test]
async fn first_start_cut_off_after_initdb_is_completed() {
    limited(async {
        let scratch = Scratch::open();
        let postgres = start(scratch.options()).await.expect("start");
        let mut connection = connect(&postgres.database_url("postgres")).await;
        sqlx::raw_sql("DROP DATABASE rollcall WITH (FORCE)").execute(&mut connection).await.expect("drop");
        postgres.stop().await.expect("stop");
        let postgres = start(scratch.options()).await.expect("start");
        write_row(&postgres).await;
        postgres.stop().await.expect("stop");
    })
    .await;
}

#[tokio::test]
async fn cancelled_start_leaves_nothing_behind() {
    limited(async {
        let scratch = Scratch::open();
        let pid_file = scratch.cluster().join("postmaster.pid");
        {
            let starting = start(scratch.options());
            tokio::pin!(starting);
            tokio::select! {
                biased;
                () = until("the server is there", || pid_file.exists()) => {}
                _ = &mut starting => {}
            }
        }
        until("the server ends", || !pid_file.exists()).await;
        let postgres = start(scratch.options()).await.expect("start");
        postgres.stop().await.expect("stop");
    })
    .await;
}
