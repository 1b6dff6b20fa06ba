// What to do about a refusal, by its reason, where nobody looked into the request itself.

const ADVICE = {
  unknown_path:
    "No source has this path. Compare it with the URL that the provider has: Sources shows each to copy. Strangers who try paths are no harm.",
  method_not_allowed:
    "Deliveries are POST. Somebody opened the URL in a browser, or the provider checks it in a way that its file does not know.",
  address_not_allowed:
    "The caller is not among the source's addresses. Where it is the provider, add its range; behind a proxy, set ingress.trusted_proxies.",
  body_too_large: "Raise body_bytes_max of the source if the sender is right.",
  body_too_slow: "The sender, or the network to it, was too slow for ingress.body_timeout; it tries again.",
  body_incomplete: "The sender closed its connection before the body was whole; it tries again.",
  content_encoded: "The sender compresses its bodies, which no provider here signs. Turn that off at the sender or the proxy.",
  signature_missing:
    "The request has no signature: no delivery of this provider, or it has no secret set for this endpoint. Set one at the provider.",
  signature_malformed:
    "The signature is not in the provider's form: see whether this endpoint belongs to another provider or another version.",
  signature_repeated: "The signature stands there more than once: a proxy doubles headers, or somebody tries something.",
  signature_mismatch:
    "None of the source's secrets made this signature. Compare the fingerprints on Sources with the secret at the provider; something on the way may have changed the body.",
  stale:
    "It was signed too long ago: a replay from the provider's dashboard, an old copy, or a clock that is wrong. Compare this machine's clock with NTP.",
  premature: "It was signed in the future: this machine's clock is behind, or the sender's ahead. Set it by NTP.",
  timestamp_missing: "The provider signs a time, and this request has none: it is another version of the scheme, or forged.",
  timestamp_malformed: "The signed time is not in the provider's form: another version of the scheme, or forged.",
  no_active_secret: "Each of the source's secrets counts at other times: see not_before and not_after on Sources.",
  unknown_key: "It names a key that is not known: renewed at the provider a moment ago, or forged.",
  token_expired: "The sender's token has ended; it makes a new one. Compare the clocks if this goes on.",
  rate_limited: 'The source\'s limit: raise it, or set on_limit = "accept" to keep and relay at that rate. The sender tries again.',
  address_rate_limited:
    "One address sends more than ingress.requests_per_address: raise it if the address is the provider's or your proxy's.",
  too_many_twins: "The same content comes under ever new unsigned ids: somebody repeats what he has seen. Eight of them were relayed.",
  schema_invalid: "The body is not as its schema says, and the source refuses such: see the detail.",
  head_malformed: "The request is no clear HTTP: a scanner, or a proxy that writes it in a way of its own.",
  head_too_large: "The headers are longer than ingress.head_bytes_max.",
  not_armed: "A handshake would set the source's secret: let it, by `hookgate secret arm`, if you began it.",
  sink_away: 'RabbitMQ does not take events, and with ack = "confirm" deliveries wait for it. Bring it back; senders try again.',
  unconfirmed: "RabbitMQ has not confirmed in time. Senders try again.",
  journal_full: "There is no room for more unconfirmed events: bring back what they are handed over to, or raise journal.bytes_max.",
  journal_failed: "A write to the disk failed; see the log, and the disk.",
  overloaded: "More came at once than the disk takes; senders try again.",
  clock_wrong: "This machine's clock is behind its newest record, or before this program was built: set it by NTP.",
  key_unavailable: "The provider's published keys could not be fetched: see that this machine reaches it.",
};

export function adviceFor({ reason, advice }) {
  return advice ?? ADVICE[reason] ?? "See the detail of the requests below, and the log under their ids.";
}
