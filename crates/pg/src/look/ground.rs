//! What can be seen without asking the server: its directory, its control file, its processes.

use jogi_core::ha::server::{ControlState, DataDir, Process};

use super::{Known, archiver};
use crate::control;
use crate::data_dir::{self, Found};
use crate::fence;
use crate::instance::Instance;
use crate::postmaster::{self, Postmaster};
use jogi_core::ha::server::Accepting;

/// What lies and runs there.
pub struct Ground {
    pub data: DataDir,
    pub process: Process,
    pub postmaster: Option<Postmaster>,
    /// It has written its shutdown checkpoint, and its archiver works still.
    pub archiving: bool,
}

/// Blocking; tens of microseconds while a server runs, some milliseconds when all processes have to be looked through.
pub fn survey(instance: &Instance, known: &Known) -> Ground {
    let data = data(instance, known);
    let (process, postmaster) = process(instance, known);
    let has_shut_down = matches!(&data, DataDir::Present(control) if control.state == ControlState::ShutDown);
    let ending = postmaster.as_ref().filter(|_| has_shut_down);
    let archiving = ending.is_some_and(|postmaster| archiver::works(postmaster.process.pid()));
    Ground { data, process, postmaster, archiving }
}

fn data(instance: &Instance, known: &Known) -> DataDir {
    if let Some(intent) = &known.intent {
        return DataDir::Broken(intent.clone());
    }
    match data_dir::inspect(instance.data_dir(), instance.binaries.major()) {
        Found::Empty => DataDir::Empty,
        Found::Unusable(why) => DataDir::Unusable(why),
        Found::Broken(why) => DataDir::Broken(why),
        Found::Cluster { .. } => match control::read(instance.data_dir(), Some(&instance.binaries.pg_controldata)) {
            Ok(control) => DataDir::Present(control),
            Err(error) => DataDir::Broken(error.to_string()),
        },
    }
}

fn process(instance: &Instance, known: &Known) -> (Process, Option<Postmaster>) {
    // A file that cannot be read leaves open who runs; the processes themselves are looked through then.
    if let Ok(Some(postmaster)) = postmaster::find(instance.data_dir()) {
        let pid = postmaster.pid();
        let process = Process::Running { pid, adopted: known.child != Some(pid), accepting: Accepting::NoAnswer };
        return (process, Some(postmaster));
    }
    let fenced = fence::is_fenced(instance.data_dir()).unwrap_or(false);
    (if fenced { Process::Stopped } else { Process::Leftovers }, None)
}
