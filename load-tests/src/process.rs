//! Processes that the harness starts: it talks to them in lines, and ends them by their own id.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a process may take to end in good order before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A process of ours. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    pid: u32,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// # Errors
    /// The program cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        name: &'static str,
        program: &Path,
        arguments: &[A],
        environment: &[(&str, String)],
        log: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let stderr = match log {
            // A process that is started again goes on in the same log.
            Some(path) => Stdio::from(std::fs::File::options().create(true).append(true).open(path)?),
            None => Stdio::inherit(),
        };
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().map(|(key, value)| (*key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", program.display()))?;
        let pid = child.id().ok_or_else(|| anyhow!("{name} ended at once"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| anyhow!("{name} has no output"))?;
        Ok(Self { name, pid, child, stdin, lines: BufReader::new(stdout).lines() })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line it prints, as JSON.
    ///
    /// # Errors
    /// It ended, said something else, or nothing within `timeout`.
    pub async fn read<T: DeserializeOwned>(&mut self, timeout: Duration) -> anyhow::Result<T> {
        let name = self.name;
        let line = tokio::time::timeout(timeout, self.lines.next_line()).await;
        let line = line.map_err(|_| anyhow!("{name} says nothing for {} s", timeout.as_secs()))??;
        let Some(line) = line else {
            let status = self.child.wait().await?;
            bail!("{name} ended with {status}");
        };
        serde_json::from_str(&line).with_context(|| format!("{name} said: {line}"))
    }

    /// Sends one line of JSON.
    ///
    /// # Errors
    /// It does not listen any more.
    pub async fn write<T: Serialize>(&mut self, message: &T) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let stdin = self.stdin.as_mut().ok_or_else(|| anyhow!("{} has no input", self.name))?;
        stdin.write_all(&line).await.with_context(|| format!("{} does not listen", self.name))?;
        stdin.flush().await?;
        Ok(())
    }

    /// Asks it to end and waits; kills it when it does not.
    ///
    /// # Errors
    /// It cannot be signalled, or it had to be killed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stdin.take();
        self.signal(Signal::SIGTERM)?;
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(status) => {
                status?;
                Ok(())
            }
            Err(_) => {
                self.child.kill().await?;
                bail!("{} did not end within {} s and was killed", self.name, STOP_TIMEOUT.as_secs())
            }
        }
    }

    /// `kill -9`, and waits until the kernel has taken it away.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // `id` is gone once the process was waited for; its number may belong to somebody else by then.
        match self.child.id() {
            Some(_) => signal_process(self.pid, signal),
            None => Ok(()),
        }
    }
}

/// # Errors
/// There is no such process, or it is not ours.
pub fn signal_process(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?);
    kill(pid, signal).with_context(|| format!("cannot signal {pid}"))
}
