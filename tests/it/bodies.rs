//! Bodies of every kind and requests of every declared method: taken, deduplicated and handed on byte for byte.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::gateway::*;

const PUBLIC_URL: &str = "https://hooks.example.com";

/// Kinds of bodies that senders send: name, Content-Type, bytes.
fn bodies() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let multipart = b"--b7\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n7\r\n--b7\r\n\
        Content-Disposition: form-data; name=\"f\"; filename=\"\xc3\xbc.bin\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n\x00\xff\r\n\r\n--b7--\r\n";
    let utf16 = "<order/>".encode_utf16().flat_map(u16::to_le_bytes);
    vec![
        ("form", "application/x-www-form-urlencoded", b"a=1&b=%2B+%FF&&c&=".to_vec()),
        ("xml", "application/xml", b"<?xml version=\"1.0\"?>\r\n<order id=\"7\">\t&amp;</order>\n".to_vec()),
        ("soap", "text/xml; charset=utf-16", [0xff, 0xfe].into_iter().chain(utf16).collect()),
        ("multipart", "multipart/form-data; boundary=b7", multipart.to_vec()),
        ("empty", "application/json", Vec::new()),
        ("blank", "text/plain", b" \r\n".to_vec()),
        ("binary", "application/octet-stream", (0..=255).cycle().take(70_000).collect()),
        ("no json", "application/json", b"{\"a\":1,}\xef\xbb\xbf".to_vec()),
        ("json", "application/json; charset=utf-8", b"\n{ \"b\" : 1.0, \"a\":\"\\u00fc\\/\" }\r\n".to_vec()),
        ("protobuf", "", vec![8, 150, 1, 18, 0]),
    ]
}

fn deliver(gateway: &Gateway, method: &str, signed: &Signed) -> Answer {
    let mut headers: Vec<(&str, &str)> =
        signed.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    headers.retain(|(_, value)| !value.is_empty());
    let length = signed.body.len().to_string();
    headers.push(("content-length", &length));
    Client::call(gateway.ingress(), method, &signed.path, &headers, &signed.body).unwrap()
}

/// A request to `source` with these headers, of which those without a value are left out.
fn request(source: &str, headers: &[(&str, &str)], body: &[u8]) -> Signed {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Signed { path: format!("/in/{source}"), headers, body: body.to_vec() }
}

/// Sent twice it is one event, whose body and Content-Type a worker gets as they were.
fn passes_whole(gateway: &Gateway, source: &str, (method, what): (&str, &str), sent: &Signed) -> Value {
    let first = deliver(gateway, method, sent);
    assert_eq!((first.status, first.outcome().as_str()), (200, "accepted"), "{what}: {}", first.text());
    let second = deliver(gateway, method, sent);
    assert_eq!(second.outcome(), "duplicate", "{what}");
    assert_eq!(second.message_id(), first.message_id(), "{what}");
    let events = gateway.drain(source, 1);
    assert_eq!(events.len(), 1, "{what}");
    assert_eq!(events[0].body, sent.body, "{what}");
    assert_eq!(events[0].message_id, first.message_id(), "{what}");
    let told = events[0].json["content_type"].as_str().unwrap_or_default();
    assert_eq!(told, sent.header("content-type"), "{what}");
    events[0].json["headers"].clone()
}

#[test]
fn bodies_of_every_kind_pass_byte_for_byte() {
    let gateway = Setup::new()
        .source("plain", "generic", "")
        .source("chat", "slack", "")
        .source("team", "gitlab", "scheme = \"x-gitlab-token\"")
        .start();
    for (what, content_type, body) in bodies() {
        let typed = ("content-type", content_type);
        let signature = hex::encode(mac(&secret("plain"), &[&body]));
        let plain = request("plain", &[typed, ("x-signature", &signature)], &body);
        passes_whole(&gateway, "plain", ("POST", what), &plain);
        let time = now().to_string();
        let signature = hex::encode(mac(&secret("chat"), &[b"v0:", time.as_bytes(), b":", &body]));
        let signature = format!("v0={signature}");
        let signed = [typed, ("x-slack-request-timestamp", &time), ("x-slack-signature", &signature)];
        passes_whole(&gateway, "chat", ("POST", what), &request("chat", &signed, &body));
        let (token, id) = (secret("team"), format!("key {what}"));
        let shown = [typed, ("x-gitlab-token", &*token), ("idempotency-key", &*id)];
        passes_whole(&gateway, "team", ("POST", what), &request("team", &shown, &body));
    }
}

#[test]
fn a_changed_byte_is_refused_whatever_the_body_is() {
    let gateway = Setup::new().source("plain", "generic", "").start();
    for (what, content_type, body) in bodies() {
        let signature = hex::encode(mac(&secret("plain"), &[&body]));
        let mut changed = body.clone();
        match changed.last_mut() {
            Some(last) => *last ^= 1,
            None => changed.push(b' '),
        }
        let headers = [("content-type", content_type), ("x-signature", &*signature)];
        assert_eq!(deliver(&gateway, "POST", &request("plain", &headers, &changed)).status, 401, "{what}");
    }
}

/// A form with these fields, and the host that a proxy may have called by.
fn sms(query: &str, body: &str, signed: &str) -> Signed {
    twilio("sms", (PUBLIC_URL, query), signed, body.as_bytes()).with("host", "10.0.0.7:8080")
}

/// Any body, whose digest is in the signed URL.
fn stream(body: &str) -> Signed {
    let query = format!("?bodySHA256={}", hex::encode(Sha256::digest(body.as_bytes())));
    twilio("stream", (PUBLIC_URL, &query), "", body.as_bytes()).with("content-type", "application/json")
}

fn phone() -> Gateway {
    Setup::new()
        .set("ingress", &format!("public_url = \"{PUBLIC_URL}\""))
        .source("sms", "twilio", "")
        .source("stream", "twilio", "scheme = \"x-twilio-signature-bodysha256\"")
        .start()
}

#[test]
fn every_declared_method_is_taken_and_no_other() {
    let gateway = phone();
    let form = sms("", "To=%2B1&MessageStatus=sent&To=%2B1", "MessageStatussentTo+1");
    passes_whole(&gateway, "sms", ("POST", "a form"), &form);
    let told = passes_whole(&gateway, "sms", ("GET", "a query"), &sms("?CallSid=CA%31&Status=", "", ""));
    assert_eq!(told["http-query"], "CallSid=CA%31&Status=", "a GET has its data there: {told}");
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let refused = deliver(&gateway, method, &form);
        assert_eq!((refused.status, refused.header("allow")), (405, "POST, GET"), "{method}");
    }
    let bodies = [("POST", "[{\"type\":\"sent\",\"n\":1}]"), ("PUT", "{}"), ("DELETE", "{ }"), ("GET", "")];
    for (method, body) in bodies {
        passes_whole(&gateway, "stream", (method, "a body with its digest"), &stream(body));
    }
    assert_eq!(deliver(&gateway, "PATCH", &stream("{}")).status, 405);
}

/// Twilio signs URL and form as one text: whoever saw a request can divide it otherwise, and every signature holds.
#[test]
fn a_captured_request_makes_marked_twins_and_eight_of_them_at_most() {
    let gateway = phone();
    let first = deliver(&gateway, "GET", &sms("?CallSid=CA123456789&Status=", "", "")).message_id();
    for cut in 1..=12 {
        let (query, moved) = "?CallSid=CA123456789&Status=".split_at(27 - cut);
        let body: String = form_urlencoded::byte_serialize(moved.as_bytes()).collect();
        assert_eq!(deliver(&gateway, "POST", &sms(query, &body, moved)).outcome(), "accepted", "{query}");
    }
    let handed = gateway.drain("sms", 9);
    assert_eq!(handed[0].message_id, first);
    assert_eq!(handed[0].header("hookgate-twin-of"), "");
    assert!(handed[1..].iter().all(|twin| twin.header("hookgate-twin-of") == first));
    assert!(gateway.claim("sms", 500).is_empty(), "the others are held");
}

#[test]
fn a_form_is_one_event_however_it_is_written_and_another_event_by_any_field() {
    let gateway = phone();
    let outcome = |body: &str, signed: &str| deliver(&gateway, "POST", &sms("", body, signed));
    let first = outcome("To=%2B1&Body=a+b", "Bodya bTo+1");
    assert_eq!(first.outcome(), "accepted");
    let again = outcome("Body=a%20b&To=%2b1", "Bodya bTo+1");
    assert_eq!((again.outcome(), again.message_id()), ("duplicate".to_owned(), first.message_id()));
    assert_eq!(outcome("To=%2B1&Body=a+c", "Bodya cTo+1").outcome(), "accepted");
    assert_eq!(outcome("To=%2B1&Body=a+d", "Bodya cTo+1").status, 401);
    let bodies: Vec<Vec<u8>> = gateway.drain("sms", 2).into_iter().map(|event| event.body).collect();
    assert_eq!(bodies, [&b"To=%2B1&Body=a+b"[..], b"To=%2B1&Body=a+c"], "as first written");
}

#[test]
fn a_body_in_pieces_is_the_same_body() {
    let gateway = Setup::new().source("plain", "generic", "").start();
    let (_, content_type, body) = bodies().remove(3);
    let signature = hex::encode(mac(&secret("plain"), &[&body]));
    let mut request = format!(
        "POST /in/plain HTTP/1.1\r\nhost: g\r\ncontent-type: {content_type}\r\nx-signature: {signature}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for piece in body.chunks(7) {
        request.extend(format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()).chain(*b"\r\n"));
    }
    request.extend(b"0\r\n\r\n");
    let mut client = Client::new(gateway.ingress());
    client.send(&request);
    assert_eq!(client.answer().unwrap().outcome(), "accepted");
    assert_eq!(gateway.drain("plain", 1)[0].body, body);
}
