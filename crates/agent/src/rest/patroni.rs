//! `GET /patroni`: the status document, as live as our server lets it be. Elections read it.

use super::answer::Answer;
use super::api::Api;
use super::document::Status;
use super::live::PATIENCE;

pub(super) async fn get(api: &Api) -> Answer {
    let live = match Status::of_snapshot(&api.snapshot()).is_queried() {
        true => api.live.look(PATIENCE).await,
        false => None,
    };
    // Taken after the query: what the core has learned meanwhile is in it.
    let snapshot = api.snapshot();
    let status = Status::with_live(&snapshot, live.as_deref());
    Answer::json(200, &status.document(api.keeper.valid_until(), api.now().boot))
}
