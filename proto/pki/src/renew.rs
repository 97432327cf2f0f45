//! Certificates rotate by themselves: at two thirds of the life a new key is drawn and the request
//! signed, by whoever can; failing that it is tried again, sooner and sooner before the end.

use std::{
    fmt,
    future::Future,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

use crate::{Credentials, Request};

/// The least and the most between two tries.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(600));

/// How often somebody else's renewal is looked for at least: an operator may have put a new
/// certificate into the directory.
const LOOK: Duration = Duration::from_secs(60);

/// Keeps the certificate fresh for as long as it is polled. `sign` sends a request (DER) and gives
/// the certificate (PEM).
pub async fn keep_fresh<F, E>(credentials: Credentials, sign: impl Fn(Vec<u8>) -> F)
where
    F: Future<Output = Result<String, E>>,
    E: fmt::Display,
{
    loop {
        let Some(due) = credentials.renewal_due() else { return };
        if !due.is_zero() {
            // Nodes that joined together must not all come at once.
            let jitter = due.mul_f64(rand::random_range(0.0..0.05));
            sleep((due + jitter).min(LOOK)).await;
            // Read anew, because another process may have renewed it.
            if let Err(error) = credentials.reload() {
                tracing::warn!(%error, "the pki directory cannot be read again");
            }
            continue;
        }
        match renew(&credentials, &sign).await {
            Ok(()) => tracing::info!("certificate renewed"),
            Err(reason) => {
                let left = left(&credentials);
                tracing::warn!(reason, ?left, "certificate not renewed, trying again");
                // Somebody may have put another in its place meanwhile.
                let _ = credentials.reload();
                let pause = if left.is_zero() { LOOK } else { (left / 20).clamp(RETRY.0, RETRY.1) };
                sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            }
        }
    }
}

async fn renew<F, E>(credentials: &Credentials, sign: &impl Fn(Vec<u8>) -> F) -> Result<(), String>
where
    F: Future<Output = Result<String, E>>,
    E: fmt::Display,
{
    let request = Request::new().map_err(|error| error.to_string())?;
    let certificate = sign(request.csr().to_vec()).await.map_err(|error| error.to_string())?;
    credentials.install(&request, certificate).map_err(|error| error.to_string())
}

fn left(credentials: &Credentials) -> Duration {
    let until = credentials.valid_until().unwrap_or(SystemTime::UNIX_EPOCH);
    until.duration_since(SystemTime::now()).unwrap_or_default()
}
