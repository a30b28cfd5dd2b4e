//! Signals as inputs: SIGTERM and SIGINT end the agent, SIGHUP reads the configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::runtime::Input;

/// The signals that are listened for, from the moment it is made.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Ends when the agent is asked to end; for the time before the loop runs.
    pub(crate) async fn asked_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Passes signals on for as long as the agent lives.
    pub(crate) async fn follow(mut self, inbox: mpsc::Sender<Input>) {
        loop {
            let input = tokio::select! {
                _ = self.terminate.recv() => Input::Terminate,
                _ = self.interrupt.recv() => Input::Terminate,
                _ = self.hang_up.recv() => Input::Reload,
            };
            if inbox.send(input).await.is_err() {
                return;
            }
        }
    }
}
