//! Certificates for tests, and the backend's side of TLS.
//!
//! They were made once with `openssl req -x509` and `openssl x509 -req`, and are valid for a hundred years:
//! `authority` signed `here` (127.0.0.1, localhost) and `elsewhere` (elsewhere.example); `stranger` signed nothing.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// What the backend shows.
#[derive(Clone, Copy, Debug)]
pub enum Certificate {
    /// For 127.0.0.1 and localhost.
    Here,
    /// For another host.
    Elsewhere,
}

impl Certificate {
    fn der(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Here => (
                include_bytes!("../../tls/here.der"),
                include_bytes!("../../tls/here.key.der"),
            ),
            Self::Elsewhere => (
                include_bytes!("../../tls/elsewhere.der"),
                include_bytes!("../../tls/elsewhere.key.der"),
            ),
        }
    }

    pub(super) fn acceptor(self) -> TlsAcceptor {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let (certificate, key) = self.der();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate)],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key)),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Who signed both, as PEM.
pub fn authority() -> &'static str {
    include_str!("../../tls/authority.pem")
}

/// Who signed neither, as PEM.
pub fn stranger() -> &'static str {
    include_str!("../../tls/stranger.pem")
}
