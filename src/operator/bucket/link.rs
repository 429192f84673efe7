//! Objects of a store: a list of them, one whole, one written. All of it waits; every wait has an end.
//!
//! What must stay true:
//!
//! * An object is there whole or not at all: what a store promises of each single write.
//! * What is said of an error names no key and no secret.

use std::{env, error::Error as _, fs, path::PathBuf, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{
    BackoffConfig, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
    aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder, local::LocalFileSystem, path,
};
use tokio::runtime::{Builder, Runtime};

use super::http::Connector;
use crate::operator::{
    Failure,
    target::{BucketUrl, Protocol},
};

/// How often a request is repeated that got no answer, or a wrong one.
const RETRIES: usize = 6;
/// No request is repeated after so long.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often something is written anew of which nobody knows whether it is there.
const ATTEMPTS: u32 = 5;
/// Objects that are read at once.
const AT_ONCE: usize = 16;

/// An object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    pub bytes: u64,
    /// When it was written by the store's clock, in milliseconds since the Unix epoch.
    pub written_ms: u64,
}

/// A part of a bucket.
pub(super) struct Link {
    store: Arc<dyn ObjectStore>,
    prefix: path::Path,
    /// Its URL.
    pub label: String,
    /// Where it is, when it is a folder.
    pub folder: Option<PathBuf>,
    runtime: Runtime,
}

impl Link {
    pub fn open(url: &BucketUrl, is_written: bool) -> Result<Self, Failure> {
        let label = url.to_string();
        let failed = |error: Error| Failure(format!("{label}: {}", told(&error)));
        let runtime = Builder::new_current_thread().enable_time().build();
        let store = store(url, is_written).map_err(failed)?;
        let prefix = match url.protocol {
            Protocol::File => path::Path::default(),
            _ => path::Path::parse(&url.prefix).map_err(|error| failed(error.into()))?,
        };
        let folder = (url.protocol == Protocol::File).then(|| PathBuf::from(format!("/{}", url.prefix)));
        Ok(Self {
            store,
            prefix,
            folder,
            runtime: runtime.map_err(|error| Failure(format!("the system refused: {error}")))?,
            label,
        })
    }

    /// The objects whose names begin with `folder` and a slash: what follows that, in order.
    pub fn list(&self, folder: &str) -> Result<Vec<(String, About)>, Failure> {
        let within = self.path(folder);
        let found = self
            .runtime
            .block_on(self.store.list(Some(&within)).try_collect::<Vec<_>>());
        let found = found.map_err(|error| self.failed("list", folder, &error))?;
        let mut named: Vec<(String, About)> = found
            .into_iter()
            .filter_map(|object| {
                let name = object
                    .location
                    .as_ref()
                    .strip_prefix(within.as_ref())?
                    .strip_prefix('/')?;
                let written_ms = object.last_modified.timestamp_millis().try_into().unwrap_or_default();
                let bytes = object.size;
                Some((name.to_owned(), About { bytes, written_ms }))
            })
            .collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(named)
    }

    /// An object, or nothing when there is none.
    pub fn get(&self, name: &str) -> Result<Option<Bytes>, Failure> {
        let got = self.runtime.block_on(read(&*self.store, self.path(name)));
        got.map_err(|error| self.failed("read", name, &error))
    }

    /// Several objects, in this order.
    pub fn get_all(&self, names: &[String]) -> Result<Vec<Option<Bytes>>, Failure> {
        let reads = names.iter().map(|name| async move {
            let got = read(&*self.store, self.path(name)).await;
            got.map_err(|error| self.failed("read", name, &error))
        });
        self.runtime
            .block_on(stream::iter(reads).buffered(AT_ONCE).try_collect())
    }

    /// When an object was written, by the store's clock.
    pub fn written_ms(&self, name: &str) -> Result<u64, Failure> {
        let about = self.runtime.block_on(self.store.head(&self.path(name)));
        let about = about.map_err(|error| self.failed("look at", name, &error))?;
        Ok(about.last_modified.timestamp_millis().try_into().unwrap_or_default())
    }

    /// Writes an object, in place of one of that name.
    pub fn put(&self, name: &str, bytes: Bytes) -> Result<(), Failure> {
        let path = self.path(name);
        let put = self.store.put(&path, PutPayload::from_bytes(bytes));
        let put = self.runtime.block_on(put);
        put.map(drop).map_err(|error| self.failed("write", name, &error))
    }

    /// Writes an object, unless there is another one of that name; says whether it did. A store that cannot decide that is
    /// asked before.
    pub fn create(&self, name: &str, bytes: &Bytes) -> Result<bool, Failure> {
        let mut attempt = 1;
        loop {
            let options = PutOptions::from(PutMode::Create);
            let path = self.path(name);
            let put = self
                .store
                .put_opts(&path, PutPayload::from_bytes(bytes.clone()), options);
            let error = match self.runtime.block_on(put) {
                Ok(_) => return Ok(true),
                Err(error) => error,
            };
            match &error {
                // It may be our own, of which the answer was lost.
                Error::AlreadyExists { .. } | Error::Precondition { .. } => {
                    if let Some(there) = self.get(name)? {
                        return Ok(there == bytes);
                    }
                }
                Error::NotImplemented { .. } | Error::NotSupported { .. } => {
                    return match self.get(name)? {
                        Some(there) => Ok(there == bytes),
                        None => self.put(name, bytes.clone()).map(|()| true),
                    };
                }
                Error::Generic { .. } => {}
                _ => return Err(self.failed("write", name, &error)),
            }
            if attempt == ATTEMPTS {
                return Err(self.failed("write", name, &error));
            }
            thread::sleep(Duration::from_millis(100) * 2_u32.pow(attempt));
            attempt += 1;
        }
    }

    /// Removes an object, whether it is there or not.
    pub fn delete(&self, name: &str) -> Result<(), Failure> {
        match self.runtime.block_on(self.store.delete(&self.path(name))) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", name, &error)),
        }
    }

    fn path(&self, name: &str) -> path::Path {
        let parts = self.prefix.parts().map(|part| part.as_ref().to_owned());
        path::Path::from_iter(parts.chain(name.split('/').map(str::to_owned)))
    }

    fn failed(&self, doing: &str, name: &str, error: &Error) -> Failure {
        Failure(format!("cannot {doing} {}/{name}: {}", self.label, told(error)))
    }
}

async fn read(store: &dyn ObjectStore, path: path::Path) -> Result<Option<Bytes>, Error> {
    match store.get(&path).await {
        Ok(found) => found.bytes().await.map(Some),
        Err(Error::NotFound { source, .. }) if !said(&source.to_string()).contains("NoSuchBucket") => Ok(None),
        Err(error) => Err(error),
    }
}

fn store(url: &BucketUrl, is_written: bool) -> Result<Arc<dyn ObjectStore>, Error> {
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: PATIENCE,
    };
    Ok(match url.protocol {
        Protocol::S3 => Arc::new(
            AmazonS3Builder::from_env()
                .with_bucket_name(&url.bucket)
                .with_http_connector(Connector)
                .with_retry(retry)
                .build()?,
        ),
        Protocol::Google => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(&url.bucket)
                .with_http_connector(Connector)
                .with_retry(retry)
                .build()?,
        ),
        Protocol::Azure => Arc::new(
            MicrosoftAzureBuilder::from_env()
                .with_container_name(&url.bucket)
                .with_http_connector(Connector)
                .with_retry(retry)
                .build()?,
        ),
        Protocol::File => {
            let folder = format!("/{}", url.prefix);
            if is_written {
                fs::create_dir_all(&folder).map_err(|error| Error::Generic {
                    store: "folder",
                    source: Box::new(error),
                })?;
            }
            Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true))
        }
    })
}

const REFUSED: &str = "the store refuses these credentials: ";

/// What an operator can do something with, on one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    let said = said(&text);
    let hint = match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => REFUSED,
        // A list that is refused is no error of its own.
        _ if text.contains("403 Forbidden") || text.contains("401 Unauthorized") => REFUSED,
        _ if said.contains("NoSuchBucket") => "there is no such bucket: ",
        _ if said.contains("169.254.") => {
            "there are no credentials (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, docs/operating.md lists all): "
        }
        _ => "",
    };
    format!("{hint}{said}")
}

/// The code and the message that a store gave, or else the text, without what may be secret.
fn said(text: &str) -> String {
    let between = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    let said = match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => text.to_owned(),
    };
    let said = said.split_whitespace().map(without_query).collect::<Vec<_>>().join(" ");
    without_secrets(said, env::vars())
}

/// A word without the query that it has as a URL, in which signatures are, and without a user and a password.
fn without_query(word: &str) -> String {
    let Some((before, url)) = word.split_once("://") else {
        return word.to_owned();
    };
    let url = url.split('?').next().unwrap_or_default();
    let host = url.split('/').next().unwrap_or_default();
    let named = host.rfind('@').map_or(0, |at| at + 1);
    format!("{before}://{}", &url[named..])
}

/// A text without the values of the variables that object stores take their keys from.
fn without_secrets(mut text: String, variables: impl Iterator<Item = (String, String)>) -> String {
    for (name, value) in variables {
        let is_theirs = ["AWS_", "GOOGLE_", "AZURE_"]
            .iter()
            .any(|start| name.starts_with(start));
        let is_secret = ["KEY", "SECRET", "TOKEN", "SAS", "ACCOUNT"]
            .iter()
            .any(|part| name.contains(part));
        if is_theirs && is_secret && value.len() > 3 {
            text = text.replace(&value, "…");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b44_what_is_said_of_an_error_has_no_user_and_password() {
        assert_eq!(
            said("cannot reach (http://me:pass@word@host:1/a@b?c) now"),
            "cannot reach (http://host:1/a@b now"
        );
    }

    #[test]
    fn b26_what_is_said_of_an_error_names_no_key() {
        let body = "Server returned non-2xx status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code>\
                    <Message>The signature does not match</Message><AWSAccessKeyId>AKID</AWSAccessKeyId></Error>";
        assert_eq!(said(body), "SignatureDoesNotMatch: The signature does not match");
        assert_eq!(
            said("error sending request for https://host/a?sig=verysecret&b after 3 retries"),
            "error sending request for https://host/a after 3 retries"
        );
        let variables = [
            ("AWS_SECRET_ACCESS_KEY", "verysecret"),
            ("AWS_REGION", "eu-1"),
            ("OTHER_KEY", "bad"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            without_secrets("bad key verysecret in eu-1".to_owned(), variables.into_iter()),
            "bad key … in eu-1"
        );
    }
}
