//! A look at our own server for REST, on a connection of its own, so that no caller of the API waits for the
//! rules' look or the other way round.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jogi_core::ha::Server;
use jogi_net::boot_now;
use jogi_pg::connect::Purpose;
use jogi_pg::look::{Known, Looker};
use tokio::sync::Mutex;

use super::Performer;
use crate::rest::LiveStatus;

/// A query for the API is given up after this; its callers wait less.
const LIMIT: Duration = Duration::from_secs(2);

/// What REST asks for the state of the server at this moment.
pub(crate) struct LiveLook {
    performer: Performer,
    looker: Arc<Mutex<Looker>>,
}

impl LiveLook {
    pub(crate) fn new(performer: Performer) -> LiveLook {
        LiveLook { performer, looker: Arc::new(Mutex::new(Looker::new(Purpose::RestApi))) }
    }
}

impl LiveStatus for LiveLook {
    fn look(&self) -> BoxFuture<'static, Option<Arc<Server>>> {
        let (performer, looker) = (self.performer.clone(), Arc::clone(&self.looker));
        async move {
            let child = performer.shared.guard.child();
            let known = Known { looked_at: boot_now(), child: child.pid.filter(|_| !child.adopted), intent: None };
            let server = looker.lock().await.look(&performer.instance(), &known, LIMIT).await;
            server.row.is_some().then(|| Arc::new(server))
        }
        .boxed()
    }
}
