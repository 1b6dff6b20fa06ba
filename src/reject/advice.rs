//! What an operator does about a refusal, and whether the same delivery may go through later. `src/console/reasons.js` and
//! `deploy/reference.md` are made of it.

use super::Reject;

/// When the same delivery may go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// After so many seconds, which the answer tells the sender.
    After(u16),
    /// At any time: what failed was the way here.
    AtOnce,
    /// Later: its time has not come.
    Later,
    /// When it is signed anew, as many senders do for each try.
    SignedAnew,
    /// Once somebody has mended what is wrong; what is the same is refused the same until then.
    Mended,
}

impl Reject {
    /// When the same delivery may go through. To send it again is safe in any case: nothing of it was accepted.
    pub const fn again(self) -> Again {
        if let Some(seconds) = self.row().retry_after {
            return Again::After(seconds);
        }
        match self {
            Self::HeadTooSlow | Self::BodyTooSlow | Self::BodyIncomplete => Again::AtOnce,
            Self::Premature | Self::TokenPremature => Again::Later,
            Self::Stale | Self::TokenExpired => Again::SignedAnew,
            _ => Again::Mended,
        }
    }

    /// What to do, where nobody has looked into the request itself.
    pub const fn advice(self) -> &'static str {
        ADVICE[self as usize].1
    }
}

/// What to do about each, in the order of [`Reject::ALL`].
const ADVICE: [(Reject, &str); 51] = [
    (
        Reject::HeadMalformed,
        "The request is no clear HTTP: a scanner, or a proxy that writes it in a way of its own.",
    ),
    (
        Reject::HeadTooLarge,
        "The headers are longer than ingress.head_bytes_max: raise it if the sender is right. A proxy in front may add many.",
    ),
    (
        Reject::HeadTooSlow,
        "Its head took longer than ingress.head_timeout: a slow network, or somebody who holds connections open.",
    ),
    (
        Reject::UnknownPath,
        "No source has this path. Compare it with the URL that the provider has: Sources shows each to copy. Strangers who try paths are no harm.",
    ),
    (
        Reject::AddressNotAllowed,
        "The caller is not among the source's addresses. Where it is the provider, add its range; behind a proxy, set ingress.trusted_proxies.",
    ),
    (
        Reject::MethodNotAllowed,
        "Deliveries are POST. Somebody opened the URL in a browser, or the provider checks it in a way that its file does not know.",
    ),
    (
        Reject::ContentEncoded,
        "The sender compresses its bodies, which no provider here signs. Turn that off at the sender or the proxy.",
    ),
    (Reject::BodyTooLarge, "Raise body_bytes_max of the source if the sender is right."),
    (
        Reject::BodyTooSlow,
        "The sender, or the network to it, was too slow for ingress.body_timeout; it tries again.",
    ),
    (
        Reject::UpgradeAsked,
        "It asks for another protocol (HTTP/2 without TLS, a WebSocket), which no sender needs: let the proxy in front speak HTTP/1.1 without Upgrade.",
    ),
    (
        Reject::ClientCertificateMissing,
        "The source wants a client certificate, and the connection had none: set it at the sender, and let a proxy in front pass TLS on.",
    ),
    (
        Reject::ClientCertificateRefused,
        "The client certificate is another authority's or has another name: compare it with ca_file and subjects of the source's client_certificates.",
    ),
    (Reject::BodyIncomplete, "The sender closed its connection before the body was whole; it tries again."),
    (
        Reject::SignatureMissing,
        "The request has no signature: no delivery of this provider, or it has no secret set for this endpoint. Set one at the provider.",
    ),
    (
        Reject::SignatureMalformed,
        "The signature is not in the provider's form: see whether this endpoint belongs to another provider or another version.",
    ),
    (
        Reject::SignatureRepeated,
        "The signature stands there more than once: a proxy doubles headers, or somebody tries something.",
    ),
    (
        Reject::SignatureMismatch,
        "None of the source's secrets made this signature. Compare the fingerprints on Sources with the secret at the provider; something on the way may have changed the body.",
    ),
    (
        Reject::CompanionMissing,
        "A value that belongs to the signature is missing: another version of the scheme, or a proxy that drops headers. The detail names it.",
    ),
    (
        Reject::CompanionWrong,
        "A value beside the signature is not what the scheme or the source's settings want. The detail names it; compare it with settings of the source.",
    ),
    (
        Reject::TimestampMissing,
        "The provider signs a time, and this request has none: it is another version of the scheme, or forged.",
    ),
    (
        Reject::TimestampMalformed,
        "The signed time is not in the provider's form: another version of the scheme, or forged.",
    ),
    (
        Reject::Stale,
        "It was signed too long ago: a replay from the provider's dashboard, an old copy, or a clock that is wrong. Compare this machine's clock with NTP.",
    ),
    (
        Reject::Premature,
        "It was signed in the future: this machine's clock is behind, or the sender's ahead. Set it by NTP.",
    ),
    (
        Reject::BodyEmpty,
        "The body is empty, which this provider never signs: something on the way dropped it, or it is forged.",
    ),
    (
        Reject::BodyDigestMismatch,
        "The body is another one than was signed: something on the way changes bodies. Let it pass them on as they come.",
    ),
    (
        Reject::FormMalformed,
        "The body is no form that the provider could have signed: something on the way changed it, or it is forged.",
    ),
    (
        Reject::WrongAlgorithm,
        "The token is signed by another algorithm than the scheme's: set that one at the sender, or another scheme of the source. A token that asks for `none` is forged.",
    ),
    (
        Reject::ClaimMismatch,
        "A claim of the token is not what the source wants: compare its settings (audience, issuer) with what the sender was set up with. The detail names it.",
    ),
    (
        Reject::TokenExpired,
        "The sender's token has ended; it makes a new one. Compare the clocks if this goes on.",
    ),
    (
        Reject::TokenPremature,
        "The token does not hold yet: this machine's clock is behind, or the sender's ahead. Set it by NTP.",
    ),
    (
        Reject::RequestDigestMismatch,
        "The token was made for another method, path or query: a proxy rewrites them, or the token was taken from another request.",
    ),
    (
        Reject::UnknownKey,
        "It names a key that is not known: renewed at the provider a moment ago, or forged.",
    ),
    (
        Reject::NoActiveSecret,
        "Each of the source's secrets counts at other times: see not_before and not_after on Sources.",
    ),
    (
        Reject::UntrustedKeyUrl,
        "It names a key at an address that is none of the provider's: forged, or the provider has moved its keys, and its file has to say so.",
    ),
    (
        Reject::KeyUnavailable,
        "The provider's published keys could not be fetched: see that this machine reaches it.",
    ),
    (
        Reject::ChallengeRefused,
        "The text that a handshake is to echo is too long or of odd characters: the provider has changed it, or somebody tries something.",
    ),
    (
        Reject::SchemaInvalid,
        "The body is not as its schema says, and the source refuses such: see the detail.",
    ),
    (
        Reject::RateLimited,
        "The source's limit: raise it, or set on_limit = \"accept\" to keep and relay at that rate. The sender tries again.",
    ),
    (
        Reject::AddressRateLimited,
        "One address sends more than ingress.requests_per_address: raise it if the address is the provider's or your proxy's.",
    ),
    (
        Reject::JournalFull,
        "There is no room for more unconfirmed events: bring back what they are handed over to, or raise journal.bytes_max.",
    ),
    (Reject::JournalFailed, "A write to the disk failed; see the log, and the disk."),
    (Reject::Overloaded, "More came at once than the disk takes; senders try again."),
    (
        Reject::TooManyTwins,
        "The same content comes under ever new unsigned ids: somebody repeats what he has seen. Eight of them were relayed.",
    ),
    (
        Reject::SinkAway,
        "RabbitMQ does not take events, and with ack = \"confirm\" deliveries wait for it. Bring it back; senders try again.",
    ),
    (Reject::Unconfirmed, "RabbitMQ has not confirmed in time. Senders try again."),
    (
        Reject::ClaimRunning,
        "A copy of the event is on its way through another replica; the sender's next try is a duplicate then. If this goes on, see that replica's log.",
    ),
    (
        Reject::ClockWrong,
        "This machine's clock is behind its newest record, or before this program was built: set it by NTP.",
    ),
    (
        Reject::NotArmed,
        "A handshake would set the source's secret: let it, by `hookgate secret arm`, if you began it.",
    ),
    (
        Reject::CaptureFailed,
        "The secret that a handshake brought could not be written: see the log, and the folder that `captured` names. Then let the provider ask again.",
    ),
    (Reject::Draining, "The gateway is being taken out; senders try again, elsewhere."),
    (Reject::Stopping, "The gateway was about to stop; senders try again."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_advice() {
        for (reject, (of, advice)) in Reject::ALL.into_iter().zip(ADVICE) {
            assert_eq!((reject, advice), (of, reject.advice()));
            assert!(advice.ends_with('.') && advice.len() > 30, "{reject:?}: {advice:?}");
            assert!(!advice.contains('|'), "{reject:?}: it stands in a table");
        }
    }

    #[test]
    fn what_tells_a_time_to_wait_is_worth_another_try_after_it() {
        for reject in Reject::ALL {
            let told = reject.row().retry_after.map(Again::After);
            assert_eq!(matches!(reject.again(), Again::After(_)), told.is_some(), "{reject:?}");
        }
        assert_eq!(Reject::JournalFull.again(), Again::After(30));
        assert_eq!(Reject::Stale.again(), Again::SignedAnew);
        assert_eq!(Reject::SignatureMismatch.again(), Again::Mended);
    }
}
