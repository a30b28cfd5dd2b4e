//! The calls with one answer. The leases' keep-alive is a stream in etcd; each of its messages is answered here in order.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jogi_kv::rpc::*;
use jogi_kv::{Answer, Operation, Refused, check};

use super::{Api, Failed, VERSION, answer, line, message, messages, within};

type Result = std::result::Result<Response, Failed>;

/// Only what is on the disk is read, and one server has no other that could know more: every read is linearizable.
pub(super) async fn range(State(api): State<Arc<Api>>, request: Body) -> Result {
    let request: RangeRequest = message(request).await?;
    check::range(&request)?;
    let found = api.node.store().range(&request)?;
    Ok(answer(&RangeResponse { header: api.header(found.header.clone()), ..found }))
}

pub(super) async fn put(State(api): State<Arc<Api>>, request: Body) -> Result {
    let request: PutRequest = message(request).await?;
    check::put(&request)?;
    match propose(&api, Operation::Put(request)).await? {
        Answer::Put(put) => Ok(answer(&PutResponse { header: api.header(put.header.clone()), ..put })),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn delete_range(State(api): State<Arc<Api>>, request: Body) -> Result {
    let request: DeleteRangeRequest = message(request).await?;
    check::delete_range(&request)?;
    match propose(&api, Operation::DeleteRange(request)).await? {
        Answer::DeleteRange(deleted) => {
            Ok(answer(&DeleteRangeResponse { header: api.header(deleted.header.clone()), ..deleted }))
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn txn(State(api): State<Arc<Api>>, request: Body) -> Result {
    let request: TxnRequest = message(request).await?;
    check::txn(&request)?;
    let read = api.node.store().read_txn(&request);
    let done = match read {
        Some(read) => read?,
        None => match propose(&api, Operation::Txn(request)).await? {
            Answer::Txn(done) => done,
            other => return Err(unexpected(&other)),
        },
    };
    Ok(answer(&TxnResponse { header: api.header(done.header.clone()), ..done }))
}

pub(super) async fn compaction(State(api): State<Arc<Api>>, request: Body) -> Result {
    let request: CompactionRequest = message(request).await?;
    match propose(&api, Operation::Compact(request)).await? {
        Answer::Compact(done) => Ok(answer(&CompactionResponse { header: api.header(done.header) })),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn grant(State(api): State<Arc<Api>>, request: Body) -> Result {
    let mut request: LeaseGrantRequest = message(request).await?;
    check::grant(&request)?;
    if request.id == 0 {
        request.id = new_lease_id(&api);
    }
    match propose(&api, Operation::Grant(request)).await? {
        Answer::Grant(lease) => Ok(answer(&LeaseGrantResponse { header: api.header(lease.header.clone()), ..lease })),
        other => Err(unexpected(&other)),
    }
}

/// Positive, as etcd's are.
fn new_lease_id(api: &Api) -> i64 {
    let store = api.node.store();
    let mut ids = std::iter::repeat_with(|| i64::try_from(jogi_net::random_u64() >> 1).unwrap_or(1).max(1));
    ids.find(|id| !store.has_lease(*id)).unwrap_or(1)
}

pub(super) async fn revoke(State(api): State<Arc<Api>>, request: Body) -> Result {
    let request: LeaseRevokeRequest = message(request).await?;
    match propose(&api, Operation::Revoke(request)).await? {
        Answer::Revoke(done) => Ok(answer(&LeaseRevokeResponse { header: api.header(done.header) })),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn keep_alive(State(api): State<Arc<Api>>, request: Body) -> Result {
    let requests: Vec<LeaseKeepAliveRequest> = messages(request).await?;
    let ids = requests.into_iter().map(|request| request.id).collect();
    match propose(&api, Operation::KeepAlive(ids)).await? {
        Answer::KeepAlive(leases) => {
            let lines = leases
                .into_iter()
                .map(|lease| line(&LeaseKeepAliveResponse { header: api.header(lease.header.clone()), ..lease }));
            let body: Vec<u8> = lines.flatten().collect();
            Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn time_to_live(State(api): State<Arc<Api>>, request: Body) -> Result {
    let request: LeaseTimeToLiveRequest = message(request).await?;
    let lease = api.node.store().time_to_live(&request, api.node.now());
    Ok(answer(&LeaseTimeToLiveResponse { header: api.header(lease.header.clone()), ..lease }))
}

pub(super) async fn leases(State(api): State<Arc<Api>>, _: Body) -> Result {
    let leases = api.node.store().leases();
    Ok(answer(&LeaseLeasesResponse { header: api.header(leases.header.clone()), ..leases }))
}

pub(super) async fn member_list(State(api): State<Arc<Api>>) -> Result {
    let identity = api.node.identity();
    let member = Member {
        id: identity.member_id,
        name: identity.name.clone(),
        client_urls: api.client_urls.clone(),
        ..Member::default()
    };
    Ok(answer(&MemberListResponse { header: api.header(None), members: vec![member] }))
}

pub(super) async fn status(State(api): State<Arc<Api>>) -> Result {
    let (bytes, header) = {
        let store = api.node.store();
        (store.bytes(), ResponseHeader { revision: store.revision(), ..ResponseHeader::default() })
    };
    let applied = *api.node.applied().borrow();
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok(answer(&StatusResponse {
        header: api.header(Some(header)),
        version: VERSION.to_owned(),
        db_size: bytes.saturating_add(i64::try_from(api.node.log_bytes()).unwrap_or(i64::MAX)),
        leader: api.node.identity().member_id,
        raft_index: applied,
        raft_term: api.node.term(),
        raft_applied_index: applied,
        errors: Vec::new(),
        db_size_in_use: bytes,
        is_learner: false,
    }))
}

/// There are no users: clients then go on without a token.
pub(super) async fn authenticate() -> Failed {
    Refused::AuthNotEnabled.into()
}

async fn propose(api: &Api, operation: Operation) -> std::result::Result<Answer, Failed> {
    within(api.node.propose(operation)).await
}

fn unexpected(answer: &Answer) -> Failed {
    Refused::Malformed(format!("the store answered another question: {answer:?}")).into()
}
