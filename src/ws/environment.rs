//! What sockets need round them: a store to be let in by, and somebody who does what hosts ask for. A server and the
//! simulation differ only here and in the wire ([`super::Wire`]).

use std::future::Future;

use rollcall_core::SessionId;
use tokio_util::task::TaskTracker;

use super::host::HostCommand;
use super::threads::SocketThreads;
use crate::control::{Call, Control, ControlError};
use crate::store::{LiveStore, Store};

pub trait Environment: Send + Sync + 'static {
    type Store: LiveStore;

    /// Runs something short beside the sockets; a shutdown waits for it.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static);

    /// The same for what may take long.
    fn spawn_apart(&self, work: impl Future<Output = ()> + Send + 'static);

    /// Carries out what a host asked for.
    fn command(
        &self,
        call: Call,
        session: SessionId,
        command: HostCommand,
    ) -> impl Future<Output = Result<(), ControlError>> + Send;
}

/// The environment of a server.
pub struct Server {
    pub control: Control,
    /// Connection tasks; shutdown waits for them.
    pub tasks: TaskTracker,
    /// Where they run once they have joined.
    pub threads: SocketThreads,
}

impl Environment for Server {
    type Store = Store;

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    fn spawn_apart(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(work, self.threads.main());
    }

    async fn command(&self, call: Call, session: SessionId, command: HostCommand) -> Result<(), ControlError> {
        match command {
            HostCommand::End(request) => self.control.end_session(&call, session, request).await.map(drop),
            HostCommand::Extend(extension) => self.control.extend_session(&call, session, extension).await.map(drop),
            HostCommand::Kick(participant) => self.control.kick(&call, session, participant).await,
        }
    }
}
