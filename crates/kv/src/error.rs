//! What is refused, with etcd's codes and texts: clients compare both.

/// gRPC's status codes, those that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    OutOfRange = 11,
    Unimplemented = 12,
    Unavailable = 14,
}

/// A request that is refused. The texts are etcd's own, from its `rpctypes`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("etcdserver: value is provided")]
    ValueProvided,
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    #[error("etcdserver: request is too large")]
    TooLarge,
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    #[error("etcdserver: authentication is not enabled")]
    AuthNotEnabled,
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    #[error("etcdserver: request timed out")]
    TimedOut,
    #[error("etcdserver: no leader")]
    NoLeader,
    #[error("etcdserver: server stopped")]
    Stopped,
    /// What this store does not have.
    #[error("{0} is not supported by jogi's store")]
    Unsupported(String),
    #[error("{0}")]
    Malformed(String),
}

impl Refused {
    pub fn code(&self) -> Code {
        match self {
            Refused::EmptyKey
            | Refused::KeyNotFound
            | Refused::ValueProvided
            | Refused::LeaseProvided
            | Refused::TooManyOperations
            | Refused::DuplicateKey
            | Refused::TooLarge
            | Refused::Malformed(_) => Code::InvalidArgument,
            Refused::Compacted | Refused::FutureRevision | Refused::LeaseTtlTooLarge => Code::OutOfRange,
            Refused::LeaseNotFound => Code::NotFound,
            Refused::LeaseExists | Refused::AuthNotEnabled => Code::FailedPrecondition,
            Refused::NoSpace | Refused::TooManyRequests => Code::ResourceExhausted,
            Refused::TimedOut | Refused::NoLeader | Refused::Stopped => Code::Unavailable,
            Refused::Unsupported(_) => Code::Unimplemented,
        }
    }
}
