//! `POST /citus` and `POST /mpp`: events between the groups of a Citus cluster.
//!
//! They concern the leader of the coordinator (`citus.group: 0`); every other member answers `OK` and does nothing, in
//! Patroni as here. What the coordinator has to change in Citus' metadata this agent does not change, and it says so: a
//! worker that hears `OK` demotes in the belief that its clients are held back.

use super::answer::Answer;
use super::api::Api;

pub(super) fn post(api: &Api) -> Answer {
    if api.coordinates && api.holds_lock() {
        let why = "this agent does not keep the metadata of a Citus coordinator: hold the clients back by other means";
        return Answer::error_because(501, why);
    }
    Answer::text(200, "OK")
}
