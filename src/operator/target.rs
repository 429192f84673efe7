//! Where a backup is: a folder, or a bucket of an object store.
//!
//! What must stay true: what is shown of a URL holds no secret, since one that could hold a secret is refused.

use std::{
    fmt::{self, Display},
    path::PathBuf,
    str::FromStr,
};

/// Where a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A folder.
    Folder(PathBuf),
    /// A part of a bucket.
    #[cfg(feature = "object-store")]
    Bucket(BucketUrl),
}

/// Part of a bucket of an object store.
#[cfg(feature = "object-store")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    /// Whose protocol it speaks.
    pub(super) protocol: Protocol,
    /// The bucket, or the container, or for a folder nothing.
    pub(super) bucket: String,
    /// What the names of all objects begin with, without a slash at its ends.
    pub(super) prefix: String,
}

/// The protocol of an object store.
#[cfg(feature = "object-store")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    S3,
    Google,
    Azure,
    /// A folder that is kept as a bucket is.
    File,
}

impl FromStr for Target {
    type Err = String;

    /// What has a scheme is a URL, all else is the path of a folder.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err("name a folder, or s3://BUCKET/PREFIX".to_owned()),
                text => Ok(Self::Folder(text.into())),
            };
        };
        url(scheme, rest)
    }
}

#[cfg(not(feature = "object-store"))]
fn url(_: &str, _: &str) -> Result<Target, String> {
    Err("this build of cowrite has no object stores (the cargo feature `object-store`): name a folder".to_owned())
}

#[cfg(feature = "object-store")]
fn url(scheme: &str, rest: &str) -> Result<Target, String> {
    // What could be a secret is not repeated.
    let protocol = match scheme.to_ascii_lowercase().as_str() {
        "s3" => Protocol::S3,
        "gs" => Protocol::Google,
        "az" | "azure" => Protocol::Azure,
        "file" => Protocol::File,
        _ => {
            return Err(
                "write a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER"
                    .to_owned(),
            );
        }
    };
    if rest.contains(['@', '?', '#']) {
        return Err(
            "write the bucket and the prefix alone: keys and the endpoint come from variables of the environment \
             (AWS_ACCESS_KEY_ID and so on, docs/operating.md lists them)"
                .to_owned(),
        );
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if (protocol == Protocol::File) != bucket.is_empty() {
        return Err("a bucket is missing, or the path after file:// does not begin with a slash".to_owned());
    }
    let prefix = prefix.trim_matches('/');
    if prefix
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..")
        && !prefix.is_empty()
    {
        return Err("the prefix has an empty part, or one of dots".to_owned());
    }
    if protocol == Protocol::File && prefix.is_empty() {
        return Err("write the path of a folder after file://, like file:///mnt/backup".to_owned());
    }
    Ok(Target::Bucket(BucketUrl {
        protocol,
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    }))
}

#[cfg(feature = "object-store")]
impl Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::S3 => "s3",
            Protocol::Google => "gs",
            Protocol::Azure => "az",
            Protocol::File => "file",
        };
        write!(f, "{scheme}://{}", self.bucket)?;
        if self.prefix.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.prefix)
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            #[cfg(feature = "object-store")]
            Self::Bucket(url) => write!(f, "{url}"),
        }
    }
}

#[cfg(all(test, feature = "object-store"))]
mod tests {
    use super::*;

    #[test]
    fn b26_a_target_is_a_folder_or_a_url_without_secrets() {
        for (text, shown) in [
            ("backup", "backup"),
            ("/mnt/a@b?c", "/mnt/a@b?c"),
            ("s3://bucket", "s3://bucket"),
            ("S3://bucket/a/b/", "s3://bucket/a/b"),
            ("gs://bucket/a", "gs://bucket/a"),
            ("azure://container/a", "az://container/a"),
            ("file:///mnt/backup", "file:///mnt/backup"),
        ] {
            assert_eq!(
                text.parse::<Target>().map(|target| target.to_string()),
                Ok(shown.to_owned())
            );
        }
        for text in [
            "",
            "s3://",
            "s3:///prefix",
            "s3://KEY:verysecret@bucket/a",
            "s3://bucket/a?secret=verysecret",
            "s3://bucket/../a",
            "s3://bucket/a//b",
            "file://mnt/backup",
            "file:///",
            "ftp://verysecret@host/a",
        ] {
            let said = text.parse::<Target>().unwrap_err();
            assert!(!said.contains("verysecret"), "{said}");
        }
    }
}
