//! The guard's reports as events.

use jogi_core::ha::{Event, GuardNews};
use jogi_pg::guard::{self, Acted, ExitStatus};
use tokio::sync::mpsc;

use crate::perform::{Attached, Guard};
use crate::runtime::Input;

/// Follows every guard that is attached to, one after another, for as long as the agent lives.
pub(crate) async fn follow(guard: Guard, mut attached: mpsc::Receiver<Attached>, inbox: mpsc::Sender<Input>) {
    while let Some(mut connection) = attached.recv().await {
        let mut events = vec![Event::Guard(GuardNews::Adopted(connection.status.adopted))];
        if connection.status.ending {
            events.extend(acted(connection.status.acted));
        }
        for event in events {
            if inbox.send(Input::Event(event)).await.is_err() {
                return;
            }
        }
        while let Some(event) = connection.events.recv().await {
            guard.heard(&event);
            let (died, lost) = (event == guard::Event::Died, matches!(event, guard::Event::Lost { .. }));
            if died || lost {
                guard.gone().await;
            }
            if let Some(event) = translated(&event)
                && inbox.send(Input::Event(event)).await.is_err()
            {
                return;
            }
            if lost {
                attach_again(&guard).await;
            }
            if died || lost {
                break;
            }
        }
    }
}

/// A guard that lives holds the server to the lease on its page, which nobody renews while we are not attached.
async fn attach_again(guard: &Guard) {
    if let Err(failure) = guard.client().await {
        tracing::error!("the guard cannot be attached to again: {failure}");
    }
}

fn translated(event: &guard::Event) -> Option<Event> {
    match event {
        guard::Event::Exited(exit) => {
            Some(Event::PostmasterExited { pid: u32::try_from(exit.pid).unwrap_or(0), status: how_it_ended(exit.how) })
        }
        guard::Event::Acted { what, .. } => acted(*what),
        guard::Event::Died => Some(Event::Guard(GuardNews::Died)),
        guard::Event::Lost { cause } => {
            tracing::warn!("the connection to the guard was lost ({cause}); attaching again");
            None
        }
        // Waited for by the effects that asked for them.
        guard::Event::Fenced | guard::Event::Promoted { .. } | guard::Event::PromoteFailed { .. } => None,
    }
}

fn acted(what: Acted) -> Option<Event> {
    match what {
        Acted::Nothing => None,
        Acted::Shutdown => Some(Event::Guard(GuardNews::ClosedAtSoft)),
        Acted::Killed => Some(Event::Guard(GuardNews::KilledAtHard)),
    }
}

/// How a postmaster ended, for people.
pub(crate) fn how_it_ended(how: ExitStatus) -> String {
    match how {
        ExitStatus::Code(0) => "orderly".into(),
        ExitStatus::Code(code) => format!("exit code {code}"),
        ExitStatus::Signal(signal) => format!("killed by signal {signal}"),
        ExitStatus::NotExecuted { errno } => {
            format!("it could not be executed: {}", std::io::Error::from_raw_os_error(errno))
        }
        ExitStatus::Unknown => "how is not known, it was not our guard's child".into(),
    }
}

#[cfg(test)]
mod tests {
    use jogi_core::Tick;
    use jogi_pg::guard::Exit;

    use super::*;

    #[test]
    fn what_the_guard_does_by_itself_reaches_the_core() {
        let exited = translated(&guard::Event::Exited(Exit { pid: 7, how: ExitStatus::Signal(9) }));
        let Some(Event::PostmasterExited { pid, status }) = exited else { panic!("{exited:?}") };
        assert_eq!((pid, status.as_str()), (7, "killed by signal 9"));
        for (what, expected) in [
            (Acted::Shutdown, Some(GuardNews::ClosedAtSoft)),
            (Acted::Killed, Some(GuardNews::KilledAtHard)),
            (Acted::Nothing, None),
        ] {
            let event = translated(&guard::Event::Acted { what, at: Tick::ZERO });
            let news = event.and_then(|event| if let Event::Guard(news) = event { Some(news) } else { None });
            assert_eq!(news, expected);
        }
        assert!(matches!(translated(&guard::Event::Died), Some(Event::Guard(GuardNews::Died))));
        assert!(
            translated(&guard::Event::Promoted { generation: 1 }).is_none(),
            "the effect that asked for it waits for it"
        );
    }
}
