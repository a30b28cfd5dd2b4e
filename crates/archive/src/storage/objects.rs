//! S3 and what speaks its protocol, Google Cloud Storage, Azure Blob: through opendal.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use jogi_net::tls::ClientTls;
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::services::{Azblob, Gcs, S3};
use opendal::{ErrorKind, HttpTransporter, OperationContext, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::error::describe;
use super::{Object, Storage, StorageError};
use crate::pipe::{Chunks, channel};
use crate::settings::{AzurePlace, GooglePlace, Location, S3Place};

/// Five tries within about 15 s: what lasts longer is not a hiccup, and PostgreSQL calls again by itself.
const RETRIES: usize = 4;
const RETRY_FROM: Duration = Duration::from_millis(500);
const RETRY_TO: Duration = Duration::from_secs(8);
/// For requests that carry no data.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// For one piece of an upload or a download.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Pieces of one object on their way at once. With the size of a piece this bounds the memory of an upload.
const PIECES_AT_ONCE: usize = 3;

#[derive(Clone, Debug)]
pub struct Objects {
    operator: Operator,
    place: String,
    piece: usize,
}

impl Objects {
    pub fn open(location: &Location) -> Result<Objects, StorageError> {
        let place = location.to_string();
        let invalid = |e: opendal::Error| StorageError::settings(&place, describe(&e));
        let (operator, piece, ca) = match location {
            Location::S3(s3) => {
                (Operator::new(s3_builder(s3)).map_err(invalid)?, s3.piece_bytes, s3.ca_file.as_deref())
            }
            Location::Google(google) => {
                (Operator::new(google_builder(google)).map_err(invalid)?, google.piece_bytes, None)
            }
            Location::Azure(azure) => (Operator::new(azure_builder(azure)).map_err(invalid)?, azure.piece_bytes, None),
            Location::Directory(_) => return Err(StorageError::settings(&place, "a directory is no object storage")),
        };
        let client = client(ca).map_err(|said| StorageError::settings(&place, said))?;
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(ReqwestTransport::new(client)));
        let timeouts = TimeoutLayer::new().with_timeout(REQUEST_WITHIN).with_io_timeout(PIECE_WITHIN);
        let retries = RetryLayer::new().with_max_times(RETRIES).with_min_delay(RETRY_FROM).with_max_delay(RETRY_TO);
        let operator = operator.with_context(context).layer(timeouts).layer(retries.with_jitter());
        Ok(Objects { operator, place, piece })
    }

    fn failed(&self, verb: &str, key: &str) -> impl Fn(opendal::Error) -> StorageError {
        let (place, verb, key) = (self.place.clone(), verb.to_owned(), key.to_owned());
        move |error| StorageError::remote(&place, &verb, &key, &error)
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        let listed = self.operator.list(prefix).await.map_err(self.failed("list", prefix))?;
        let files = listed.into_iter().filter(|entry| entry.metadata().is_file());
        let object = |entry: opendal::Entry| {
            let (key, metadata) = entry.into_parts();
            let modified = metadata.last_modified().map(SystemTime::from);
            Object { key, size: metadata.content_length(), modified }
        };
        Ok(files.map(object).collect())
    }
}

#[async_trait]
impl Storage for Objects {
    async fn put(&self, key: &str, mut chunks: Chunks) -> Result<u64, StorageError> {
        let failed = self.failed("write", key);
        let writer = self.operator.writer_with(key).chunk(self.piece).concurrent(PIECES_AT_ONCE);
        let mut writer = writer.await.map_err(&failed)?;
        let mut size = 0;
        while let Some(chunk) = chunks.recv().await {
            let sent = match chunk {
                Ok(bytes) => {
                    size += bytes.len() as u64;
                    writer.write(bytes).await.map_err(&failed)
                }
                Err(error) => Err(StorageError::local(&self.place, "write", key, error)),
            };
            if let Err(error) = sent {
                // Best effort: the service's own rules remove what is left of an upload.
                let _ = writer.abort().await;
                return Err(error);
            }
        }
        writer.close().await.map_err(&failed)?;
        Ok(size)
    }

    async fn get(&self, key: &str) -> Result<Option<Chunks>, StorageError> {
        let failed = self.failed("read", key);
        let reader = self.operator.reader(key).await.map_err(&failed)?;
        let mut stream = reader.into_bytes_stream(..).await.map_err(&failed)?;
        let first = match stream.try_next().await {
            Ok(first) => first,
            Err(error) => match source_kind(&error) {
                Some(ErrorKind::NotFound) => return self.absent(key).await,
                _ => return Err(StorageError::local(&self.place, "read", key, error)),
            },
        };
        let (sender, chunks) = channel();
        tokio::spawn(async move {
            let mut next: io::Result<Option<Bytes>> = Ok(first);
            loop {
                let piece = match next {
                    Ok(None) => return,
                    Ok(Some(bytes)) => Ok(bytes),
                    Err(error) => Err(error),
                };
                let ended = piece.is_err();
                // A reader that is gone wants no more.
                if sender.send(piece).await.is_err() || ended {
                    return;
                }
                next = stream.try_next().await;
            }
        });
        Ok(Some(chunks))
    }

    async fn list(&self, folder: &str) -> Result<Vec<Object>, StorageError> {
        let folder = format!("{}/", folder.trim_end_matches('/'));
        let mut objects = self.entries(&folder).await?;
        // An object with the folder's own key may exist.
        objects.retain(|object| object.key != folder);
        Ok(objects)
    }

    async fn ends(&self, stem: &str, ends: &[&str]) -> Result<Vec<String>, StorageError> {
        let keys = self.entries(stem).await?.into_iter().map(|object| object.key);
        Ok(keys.filter(|key| key.strip_prefix(stem).is_some_and(|end| ends.contains(&end))).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.operator.delete(key).await.map_err(self.failed("delete", key))
    }

    fn place(&self) -> &str {
        &self.place
    }
}

impl Objects {
    /// An object that is absent, and not its whole bucket: a service says both by the same answer, and a recovery that
    /// takes the second for the first ends early.
    async fn absent(&self, key: &str) -> Result<Option<Chunks>, StorageError> {
        self.operator.list(key).await.map(|_| None).map_err(self.failed("list", key))
    }
}

/// The library's error inside an error of its stream.
fn source_kind(error: &io::Error) -> Option<ErrorKind> {
    let inner = error.get_ref()?;
    inner.downcast_ref::<opendal::Error>().map(opendal::Error::kind)
}

fn client(ca: Option<&Path>) -> Result<reqwest::Client, String> {
    let tls = ClientTls { ca: ca.map(Path::to_owned), ..ClientTls::default() };
    let tls = tls.build().map_err(|e| e.to_string())?;
    // Unlike the traffic between members, this may well go through the proxy that the environment names.
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).http1_only().connect_timeout(CONNECT_WITHIN);
    client.build().map_err(|e| jogi_net::http::describe(&e))
}

fn s3_builder(s3: &S3Place) -> S3 {
    let mut builder = S3::default().bucket(&s3.bucket).root(&s3.root).region(&s3.region);
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if !s3.path_style {
        builder = builder.enable_virtual_host_style();
    }
    if let Some((id, secret)) = &s3.keys {
        builder = builder.access_key_id(id).secret_access_key(secret);
    }
    if let Some(token) = &s3.session_token {
        builder = builder.session_token(token);
    }
    if let Some(class) = &s3.storage_class {
        builder = builder.default_storage_class(class);
    }
    if let Some(encryption) = &s3.encryption {
        builder = builder.server_side_encryption(encryption);
    }
    if let Some(key) = &s3.kms_key {
        builder = builder.server_side_encryption_aws_kms_key_id(key);
    }
    builder
}

fn google_builder(google: &GooglePlace) -> Gcs {
    let mut builder = Gcs::default().bucket(&google.bucket).root(&google.root);
    if let Some(endpoint) = &google.endpoint {
        builder = builder.endpoint(endpoint);
    }
    match &google.credentials {
        Some(file) => builder.credential_path(file),
        None => builder,
    }
}

fn azure_builder(azure: &AzurePlace) -> Azblob {
    let mut builder = Azblob::default().container(&azure.container).root(&azure.root).endpoint(&azure.endpoint);
    builder = builder.account_name(&azure.account);
    if let Some(key) = &azure.key {
        builder = builder.account_key(key);
    } else if let Some(token) = &azure.sas_token {
        builder = builder.sas_token(token);
    }
    builder
}
