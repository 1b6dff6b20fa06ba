// What to do about a refusal, by its reason, where nobody looked into the request itself. Made of src/reject/advice.rs by
// a test, which fails where this differs and says how it is made anew.

const ADVICE = {
  head_malformed:
    "The request is no clear HTTP: a scanner, or a proxy that writes it in a way of its own.",
  head_too_large:
    "The headers are longer than ingress.head_bytes_max: raise it if the sender is right. A proxy in front may add many.",
  head_too_slow:
    "Its head took longer than ingress.head_timeout: a slow network, or somebody who holds connections open.",
  unknown_path:
    "No source has this path. Compare it with the URL that the provider has: Sources shows each to copy. Strangers who try paths are no harm.",
  address_not_allowed:
    "The caller is not among the source's addresses. Where it is the provider, add its range; behind a proxy, set ingress.trusted_proxies.",
  method_not_allowed:
    "Deliveries are POST. Somebody opened the URL in a browser, or the provider checks it in a way that its file does not know.",
  content_encoded:
    "The sender compresses its bodies, which no provider here signs. Turn that off at the sender or the proxy.",
  body_too_large:
    "Raise body_bytes_max of the source if the sender is right.",
  body_too_slow:
    "The sender, or the network to it, was too slow for ingress.body_timeout; it tries again.",
  upgrade_asked:
    "It asks for another protocol (HTTP/2 without TLS, a WebSocket), which no sender needs: let the proxy in front speak HTTP/1.1 without Upgrade.",
  client_certificate_missing:
    "The source wants a client certificate, and the connection had none: set it at the sender, and let a proxy in front pass TLS on.",
  client_certificate_refused:
    "The client certificate is another authority's or has another name: compare it with ca_file and subjects of the source's client_certificates.",
  body_incomplete:
    "The sender closed its connection before the body was whole; it tries again.",
  signature_missing:
    "The request has no signature: no delivery of this provider, or it has no secret set for this endpoint. Set one at the provider.",
  signature_malformed:
    "The signature is not in the provider's form: see whether this endpoint belongs to another provider or another version.",
  signature_repeated:
    "The signature stands there more than once: a proxy doubles headers, or somebody tries something.",
  signature_mismatch:
    "None of the source's secrets made this signature. Compare the fingerprints on Sources with the secret at the provider; something on the way may have changed the body.",
  companion_missing:
    "A value that belongs to the signature is missing: another version of the scheme, or a proxy that drops headers. The detail names it.",
  companion_wrong:
    "A value beside the signature is not what the scheme or the source's settings want. The detail names it; compare it with settings of the source.",
  timestamp_missing:
    "The provider signs a time, and this request has none: it is another version of the scheme, or forged.",
  timestamp_malformed:
    "The signed time is not in the provider's form: another version of the scheme, or forged.",
  stale:
    "It was signed too long ago: a replay from the provider's dashboard, an old copy, or a clock that is wrong. Compare this machine's clock with NTP.",
  premature:
    "It was signed in the future: this machine's clock is behind, or the sender's ahead. Set it by NTP.",
  body_empty:
    "The body is empty, which this provider never signs: something on the way dropped it, or it is forged.",
  body_digest_mismatch:
    "The body is another one than was signed: something on the way changes bodies. Let it pass them on as they come.",
  form_malformed:
    "The body is no form that the provider could have signed: something on the way changed it, or it is forged.",
  wrong_alg:
    "The token is signed by another algorithm than the scheme's: set that one at the sender, or another scheme of the source. A token that asks for `none` is forged.",
  claim_mismatch:
    "A claim of the token is not what the source wants: compare its settings (audience, issuer) with what the sender was set up with. The detail names it.",
  token_expired:
    "The sender's token has ended; it makes a new one. Compare the clocks if this goes on.",
  token_premature:
    "The token does not hold yet: this machine's clock is behind, or the sender's ahead. Set it by NTP.",
  request_digest_mismatch:
    "The token was made for another method, path or query: a proxy rewrites them, or the token was taken from another request.",
  unknown_key:
    "It names a key that is not known: renewed at the provider a moment ago, or forged.",
  no_active_secret:
    "Each of the source's secrets counts at other times: see not_before and not_after on Sources.",
  untrusted_key_url:
    "It names a key at an address that is none of the provider's: forged, or the provider has moved its keys, and its file has to say so.",
  key_unavailable:
    "The provider's published keys could not be fetched: see that this machine reaches it.",
  challenge_refused:
    "The text that a handshake is to echo is too long or of odd characters: the provider has changed it, or somebody tries something.",
  schema_invalid:
    "The body is not as its schema says, and the source refuses such: see the detail.",
  rate_limited:
    "The source's limit: raise it, or set on_limit = \"accept\" to keep and relay at that rate. The sender tries again.",
  address_rate_limited:
    "One address sends more than ingress.requests_per_address: raise it if the address is the provider's or your proxy's.",
  journal_full:
    "There is no room for more unconfirmed events: bring back what they are handed over to, or raise journal.bytes_max.",
  journal_failed:
    "A write to the disk failed; see the log, and the disk.",
  overloaded:
    "More came at once than the disk takes; senders try again.",
  too_many_twins:
    "The same content comes under ever new unsigned ids: somebody repeats what he has seen. Eight of them were relayed.",
  sink_away:
    "RabbitMQ does not take events, and with ack = \"confirm\" deliveries wait for it. Bring it back; senders try again.",
  unconfirmed:
    "RabbitMQ has not confirmed in time. Senders try again.",
  claim_running:
    "A copy of the event is on its way through another replica; the sender's next try is a duplicate then. If this goes on, see that replica's log.",
  clock_wrong:
    "This machine's clock is behind its newest record, or before this program was built: set it by NTP.",
  not_armed:
    "A handshake would set the source's secret: let it, by `hookgate secret arm`, if you began it.",
  capture_failed:
    "The secret that a handshake brought could not be written: see the log, and the folder that `captured` names. Then let the provider ask again.",
  draining:
    "The gateway is being taken out; senders try again, elsewhere.",
  stopping:
    "The gateway was about to stop; senders try again.",
};

export function adviceFor({ reason, advice }) {
  return advice ?? ADVICE[reason] ?? "See the detail of the requests below, and the log under their ids.";
}
