//! From a URL to a backend. A local folder is durable (fsync) and S3 takes conditional puts,
//! or the store is not opened: create-only commits rest on both.

use std::{path::Path, sync::Arc};

use object_store::{
    ObjectStore,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut},
    local::LocalFileSystem,
    memory::InMemory,
    path::Path as ObjectPath,
    prefix::PrefixStore,
};
use url::Url;

use crate::StoreError;

const SCHEMES: &str = "use file:///directory, s3://bucket/prefix or memory://";

/// Opens the backend that `url` names.
pub(crate) fn backend(url: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let invalid =
        |reason: &str| StoreError::InvalidUrl { url: url.to_owned(), reason: reason.to_owned() };
    let parsed = Url::parse(url).map_err(|e| invalid(&format!("{e}; {SCHEMES}")))?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(invalid("a query or fragment means nothing here; remove it"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(invalid("credentials do not belong in the URL; set AWS_* variables instead"));
    }
    match parsed.scheme() {
        "file" => {
            let dir = parsed
                .to_file_path()
                .map_err(|()| invalid("a folder needs three slashes, as in file:///srv/yard"))?;
            local(&dir).map_err(|e| invalid(&e))
        }
        "s3" => s3(&parsed, AmazonS3Builder::from_env()).map_err(|e| invalid(&e)),
        "memory" => Ok(Arc::new(InMemory::new())),
        other => Err(invalid(&format!("unknown scheme `{other}`; {SCHEMES}"))),
    }
}

fn local(dir: &Path) -> Result<Arc<dyn ObjectStore>, String> {
    std::fs::create_dir_all(dir)
        .map_err(|e| format!("cannot make the folder: {e}; check the path and its owner"))?;
    let store = LocalFileSystem::new_with_prefix(dir).map_err(|e| e.to_string())?;
    Ok(Arc::new(store.with_fsync(true).with_automatic_cleanup(true)))
}

fn s3(url: &Url, builder: AmazonS3Builder) -> Result<Arc<dyn ObjectStore>, String> {
    let bucket = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or("the bucket is missing, as in s3://bucket/prefix")?;
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let plain = endpoint.as_deref().map_or(Ok(false), is_loopback_http)?;
    let store = builder
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_allow_http(plain)
        .build()
        .map_err(|e| format!("{e}; check the AWS_* variables"))?;
    let prefix = url.path().trim_matches('/');
    if prefix.is_empty() {
        return Ok(Arc::new(store));
    }
    let prefix = ObjectPath::from_url_path(prefix).map_err(|e| e.to_string())?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}

/// Whether the endpoint is plain HTTP, which only a loopback address may be: bytes and
/// signatures would cross the network in the clear.
fn is_loopback_http(endpoint: &str) -> Result<bool, String> {
    let url = Url::parse(endpoint).map_err(|e| format!("endpoint `{endpoint}`: {e}"))?;
    if url.scheme() == "https" {
        return Ok(false);
    }
    let loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() == "http" && loopback {
        return Ok(true);
    }
    Err(format!("endpoint `{endpoint}` is not https; plain http is for loopback addresses alone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_alone() {
        for (endpoint, plain) in [
            ("https://s3.example", Some(false)),
            ("http://127.0.0.1:5000", Some(true)),
            ("http://[::1]:5000", Some(true)),
            ("http://localhost:5000", Some(true)),
            ("http://s3.example", None),
            ("http://localhost.example", None),
            ("http://10.0.0.1", None),
            ("ftp://127.0.0.1", None),
            ("s3.example", None),
        ] {
            assert_eq!(is_loopback_http(endpoint).ok(), plain, "{endpoint}");
        }
    }

    #[test]
    fn an_endpoint_in_the_clear_is_refused_whatever_the_environment_allows() {
        let url = Url::parse("s3://bucket/a").unwrap();
        let builder =
            AmazonS3Builder::new().with_endpoint("http://s3.example").with_allow_http(true);
        assert!(s3(&url, builder).unwrap_err().contains("not https"));
    }

    #[test]
    fn a_url_that_names_no_store_says_what_would() {
        for (url, hint) in [
            ("", "file:///directory"),
            ("/srv/yard", "file:///directory"),
            ("ftp://x", "unknown scheme `ftp`"),
            ("file://host/dir", "three slashes"),
            ("s3:///x", "bucket is missing"),
            ("s3://key:secret@bucket", "AWS_*"),
            ("memory://?x=1", "query"),
        ] {
            let error = backend(url).unwrap_err().to_string();
            assert!(error.contains(hint), "{url}: {error}");
        }
    }
}
