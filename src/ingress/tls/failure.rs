//! Why a handshake failed: from what rustls says to a class with a label.

use std::io;

use rustls::{Error, PeerIncompatible};

use crate::metrics::HandshakeFailure;

/// The class of an error that ended a handshake.
pub(super) fn class(error: &io::Error) -> HandshakeFailure {
    let told = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match told {
        Some(error) => of_rustls(error),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => HandshakeFailure::Closed,
            io::ErrorKind::TimedOut => HandshakeFailure::Late,
            _ => HandshakeFailure::Other,
        },
    }
}

fn of_rustls(error: &Error) -> HandshakeFailure {
    use PeerIncompatible as Peer;
    match error {
        Error::PeerIncompatible(
            // Only clients older than TLS 1.2 send none.
            Peer::SignatureAlgorithmsExtensionRequired
            | Peer::SupportedVersionsExtensionRequired
            | Peer::ServerDoesNotSupportTls12Or13
            | Peer::ServerTlsVersionIsDisabledByOurConfig
            | Peer::Tls12NotOffered
            | Peer::Tls12NotOfferedOrEnabled,
        ) => HandshakeFailure::Version,
        Error::PeerIncompatible(_) => HandshakeFailure::Cipher,
        Error::NoApplicationProtocol => HandshakeFailure::Protocol,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => HandshakeFailure::ClientCertificate,
        Error::AlertReceived(_) => HandshakeFailure::Alert,
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::DecryptError => HandshakeFailure::Malformed,
        _ => HandshakeFailure::Other,
    }
}
