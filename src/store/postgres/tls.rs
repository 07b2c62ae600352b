//! `sslmode` and `sslrootcert` of the URL, as PostgreSQL's own clients mean them.
//!
//! | sslmode | encrypted | who answers is checked |
//! |---|---|---|
//! | `disable` | no | no |
//! | `prefer` (default) | if the server can | no |
//! | `require` | yes | only with `sslrootcert` |
//! | `verify-full` | yes | yes: by `sslrootcert`, or the system's certificates |

use crate::store::StoreError;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio_postgres::{Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

/// How long a connection may say nothing to what was sent.
const SILENCE: Duration = Duration::from_secs(10);

/// Where to connect, and how.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
}

impl Target {
    /// From `store.url`. Errors never quote it.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (url, mode, roots) = take_tls(url)?;
        let mut config: Config =
            url.parse().map_err(|error: tokio_postgres::Error| wrong(super::link::explain(&error)))?;
        let (mode, checked) = match mode.as_deref() {
            Some("disable") => (SslMode::Disable, false),
            None | Some("prefer") => (SslMode::Prefer, false),
            Some("require") => (SslMode::Require, roots.is_some()),
            Some("verify-full") => (SslMode::Require, true),
            Some(_) => return Err(wrong("sslmode: expected `disable`, `prefer`, `require` or `verify-full`")),
        };
        config.ssl_mode(mode);
        if config.get_application_name().is_none() {
            config.application_name("service-gateway");
        }
        // A network that swallows everything is noticed within seconds.
        config
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(SILENCE)
            .keepalives_interval(SILENCE / 4)
            .keepalives_retries(3);
        let tls = MakeRustlsConnect::new(client(checked, roots.as_deref().map(Path::new))?);
        Ok(Self { config, tls })
    }
}

fn wrong(why: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("store.url: {why}").into())
}

type Taken = (String, Option<String>, Option<String>);

/// The URL without `sslmode` and `sslrootcert`, which the client's library does not know as we do.
fn take_tls(url: &str) -> Result<Taken, StoreError> {
    let parsed = Url::parse(url).map_err(wrong)?;
    let value = |name: &str| {
        let pair = parsed.query_pairs().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.into_owned())
    };
    let ours = |pair: &&str| ["sslmode=", "sslrootcert="].iter().any(|name| pair.starts_with(name));
    let mut rest = parsed.clone();
    // As they are written: to write them anew would change how they are encoded.
    let others: Vec<_> = parsed.query().unwrap_or_default().split('&').filter(|pair| !ours(pair)).collect();
    rest.set_query(Some(&others.join("&")).filter(|query| !query.is_empty()).map(String::as_str));
    Ok((rest.into(), value("sslmode"), value("sslrootcert")))
}

fn client(checked: bool, roots: Option<&Path>) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(wrong)?;
    let mut client = if checked {
        builder.with_root_certificates(certificates(roots)?).with_no_client_auth()
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider))).with_no_client_auth()
    };
    client.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(client)
}

fn certificates(roots: Option<&Path>) -> Result<RootCertStore, StoreError> {
    let found: Vec<CertificateDer<'static>> = match roots {
        None => rustls_native_certs::load_native_certs().certs,
        Some(file) => {
            let wrong = |error: &dyn std::fmt::Display| wrong(format!("sslrootcert: {}: {error}", file.display()));
            CertificateDer::pem_file_iter(file)
                .map_err(|error| wrong(&error))?
                .collect::<Result<_, _>>()
                .map_err(|error| wrong(&error))?
        }
    };
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found);
    if added == 0 {
        return Err(wrong("no certificate to check the server by: give sslrootcert=FILE"));
    }
    Ok(store)
}

/// Encrypts to whoever answers, as `prefer` and `require` say.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(query: &str) -> Result<SslMode, String> {
        let target = Target::parse(&format!("postgres://me:canary@host/db{query}"));
        let why = |error| match error {
            StoreError::Failed(why) => why.to_string(),
            other => other.to_string(),
        };
        target.map(|target| target.config.get_ssl_mode()).map_err(why)
    }

    #[test]
    fn modes() {
        assert_eq!(mode("?sslmode=disable"), Ok(SslMode::Disable));
        assert_eq!(mode(""), Ok(SslMode::Prefer));
        assert_eq!(mode("?connect_timeout=3&sslmode=require"), Ok(SslMode::Require));
        assert_eq!(mode("?sslmode=verify-full&sslrootcert=/nowhere").unwrap_err(), {
            "store.url: sslrootcert: /nowhere: I/O error: No such file or directory (os error 2)"
        });
    }

    #[test]
    fn errors_do_not_quote_the_url() {
        for query in ["?sslmode=canary", "?canary=canary", "?connect_timeout=canary", "?sslmode=verify-ca"] {
            let error = mode(query).unwrap_err();
            assert!(error.starts_with("store.url: ") && !error.contains("me:canary"), "{error}");
        }
    }
}
