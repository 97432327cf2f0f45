//! What a failed connection means for somebody who can do something about it.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};

/// What to say and try, if `error` or a cause of it is about certificates. Trying again does not
/// help with those.
#[must_use]
pub fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = find(error) {
            return explain(tls);
        }
        cause = error.source();
    }
    None
}

/// Wrapped in an error of the system it is not among the causes.
fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    error.downcast_ref::<io::Error>()?.get_ref().and_then(|inner| find(inner))
}

fn explain(error: &rustls::Error) -> Option<String> {
    let text = match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is of another cluster's authority; check the endpoint, or name the \
             right pki directory"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired) => {
            "its certificate has expired; is the clock of this machine right?".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYet) => {
            "its certificate is not valid yet; is the clock of this machine right?".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string(),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS; check the endpoint".to_owned(),
        rustls::Error::AlertReceived(alert) => of_alert(*alert)?.to_owned(),
        _ => return None,
    };
    Some(text)
}

const fn of_alert(alert: AlertDescription) -> Option<&'static str> {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            Some("it does not know the authority of our certificate; name the right pki directory")
        }
        AlertDescription::CertificateExpired => {
            Some("our certificate has expired; join again, or ask an administrator for a new one")
        }
        AlertDescription::CertificateRequired => {
            Some("it wants a certificate; name a pki directory that holds one")
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => {
            Some("it does not take our certificate; name the right pki directory")
        }
        _ => None,
    }
}
