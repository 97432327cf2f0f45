//! The token that goes with every request, if there is one.

use std::fmt;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};
use trainyard_jobs::Token;

/// Adds `authorization: Bearer …`.
#[derive(Clone, Default)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Sends `token`.
    pub(crate) fn new(token: Option<&Token>) -> Self {
        let value = token.and_then(|token| format!("Bearer {}", token.expose()).parse().ok());
        Self(value.map(|mut value: MetadataValue<Ascii>| {
            // Neither logs nor header compression keep it.
            value.set_sensitive(true);
            value
        }))
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "[token]" } else { "no token" })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}
