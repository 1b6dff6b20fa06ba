//! Provider files with handshakes of every shape: which deliveries they answer, with what, and which files are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use proptest::prelude::*;

use super::answer::ECHO_BYTES_MAX;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::provider::{Definition, Made, Scheme};
use crate::reject::Reject;
use crate::verify::{Key, Verifier, sign};

const SCHEME: &str = r#"
[[schemes]]
name = "default"
algorithm = "hmac-sha256"
signed = ["{body}"]
signature = { from = "header:X-Signature", encoding = "hex" }
"#;

fn build(handshake: &str, settings: &[(&str, &str)]) -> Result<Scheme, String> {
    let file = format!(
        "name = \"acme\"\ntitle = \"Acme\"\n[settings.token]\nhelp = \"the token\"\n[settings.mode]\nhelp = \"a mode\"\n\
         {SCHEME}[[handshakes]]\nname = \"hello\"\n{handshake}"
    );
    let definition: Definition = toml::from_str(&file).map_err(|error| error.to_string())?;
    let settings: BTreeMap<String, String> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Scheme::build(&definition, None, &settings)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Delivery {
    let mut lines = Headers::default();
    headers.iter().for_each(|(name, value)| lines.push(name, value.as_bytes()));
    Delivery {
        method: method.into(),
        target: target.into(),
        headers: lines,
        body: Bytes::copy_from_slice(body.as_bytes()),
        received_at: Timestamp::from_seconds(1_800_000_000),
    }
}

/// Stands for a value that is made: says how and of what.
fn minted(made: Made, text: &[u8]) -> Option<Vec<u8>> {
    Some(format!("{made:?} of {}", String::from_utf8_lossy(text)).into_bytes())
}

/// Status, headers in one line, body; nothing where no handshake is met.
fn answer(scheme: &Scheme, delivery: &Delivery) -> Result<Option<(u16, String, String)>, Reject> {
    let answered = scheme.handshakes.unverified(delivery, &minted).map_err(|refused| refused.reject)?;
    Ok(answered.map(|answer| {
        let headers: Vec<String> =
            answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        (answer.status, headers.join("; "), answer.body)
    }))
}

const NOSNIFF: &str = "x-content-type-options: nosniff";

fn some(status: u16, headers: &str, body: &str) -> Result<Option<(u16, String, String)>, Reject> {
    let separator = if headers.is_empty() { "" } else { "; " };
    Ok(Some((status, format!("{headers}{separator}{NOSNIFF}"), body.to_owned())))
}

#[test]
fn each_shape_of_question_gets_its_shape_of_answer() {
    let post =
        |body: &str| request("POST", "/", &[("Content-Type", "application/json; charset=utf-8")], body);
    let cases = [
        (
            r#"match = { methods = ["GET"], equal = { "query:hub.mode" = ["subscribe", "unsubscribe"] } }
               answer = { text = "{query:hub.challenge}" }"#,
            request("GET", "/?hub.mode=unsubscribe&hub.challenge=a%20%C3%A9", &[], ""),
            some(200, "content-type: text/plain", "a é"),
        ),
        (
            r#"match = { content_type = "application/json", equal = { "json:/type" = "url" } }
               answer = { json = { "hub.challenge" = "{json:/challenge}", ok = true, n = [1] } }"#,
            post(r#"{"type":"url","challenge":"<b>\"x\""}"#),
            some(200, "content-type: application/json", r#"{"hub.challenge":"<b>\"x\"","n":[1],"ok":true}"#),
        ),
        (
            r#"match = { equal = { "json:/type" = 0 } }
               answer = { status = 204, headers = { Content-Type = "application/json" } }"#,
            post(r#"{"type":0}"#),
            some(204, "content-type: application/json", ""),
        ),
        (
            r#"match = { methods = ["OPTIONS"] }
               answer = { headers = { "WebHook-Allowed-Origin" = "{header:WebHook-Request-Origin}", "WebHook-Allowed-Rate" = "*" } }"#,
            request("OPTIONS", "/", &[("webhook-request-origin", "grid.example")], ""),
            some(200, "webhook-allowed-origin: grid.example; webhook-allowed-rate: *", ""),
        ),
        (
            r#"match = { empty_body = true, present = ["query:token"] }
               answer = { text = "{{{query:token}}}" }"#,
            request("POST", "/?token=t", &[], ""),
            some(200, "content-type: text/plain", "{t}"),
        ),
        (r#"match = { methods = ["HEAD", "GET"] }"#, request("HEAD", "/", &[], ""), some(200, "", "")),
    ];
    for (file, delivery, wanted) in cases {
        let scheme = build(&format!("verify = false\n{file}"), &[]).unwrap();
        assert_eq!(answer(&scheme, &delivery), wanted, "{file}");
    }
}

#[test]
fn what_misses_one_condition_is_no_handshake() {
    let file = r#"
verify = false
match = { content_type = "application/json", equal = { "json:/type" = 1, "header:X-Kind" = "ping" }, present = ["json:/id"] }
answer = { text = "{json:/challenge}" }"#;
    let scheme = build(file, &[]).unwrap();
    let send = |method: &str, content_type: &str, kind: &str, body: &str| {
        let headers = [("content-type", content_type), ("x-kind", kind)];
        answer(&scheme, &request(method, "/", &headers, body)).unwrap().is_some()
    };
    let body = r#"{"type":1,"id":"i","challenge":"c"}"#;
    assert!(send("POST", "Application/JSON;charset=utf-8", "ping", body));
    for (method, content_type, kind, body) in [
        ("GET", "application/json", "ping", body),
        ("POST", "text/json", "ping", body),
        ("POST", "application/json", "pong", body),
        ("POST", "application/json", "ping", r#"{"type":"1","id":"i","challenge":"c"}"#),
        ("POST", "application/json", "ping", r#"{"type":1.0,"id":"i","challenge":"c"}"#),
        ("POST", "application/json", "ping", r#"{"type":1,"id":"","challenge":"c"}"#),
        ("POST", "application/json", "ping", r#"{"type":1,"id":null,"challenge":"c"}"#),
        ("POST", "application/json", "ping", r#"{"type":1,"id":"i","challenge":{"c":1}}"#),
        ("POST", "application/json", "ping", r#"{"type":1,"id":"i"}"#),
        ("POST", "application/json", "ping", r#"{"type":1,"id":"i","challenge":"c"} x"#),
        ("POST", "application/json", "ping", ""),
    ] {
        assert!(!send(method, content_type, kind, body), "{method} {content_type} {kind} {body}");
    }
}

#[test]
fn a_handshake_is_verified_unless_the_file_says_otherwise() {
    let scheme = build("match = { equal = { \"json:/type\" = 1 } }", &[]).unwrap();
    assert_eq!(answer(&scheme, &request("POST", "/", &[], r#"{"type":1}"#)), Ok(None));
    assert!(scheme.takes("POST") && !scheme.takes("GET"));
    let scheme = build("verify = false\nmatch = { methods = [\"GET\"] }", &[]).unwrap();
    assert!(scheme.takes("GET") && !scheme.sends("GET") && scheme.sends("POST"));
}

#[test]
fn a_token_that_the_source_does_not_have_opens_nothing() {
    let file = "verify = false\nmatch = { methods = [\"GET\"], equal = { \"query:token\" = \"${token}\" } }\n\
                answer = { text = \"{query:challenge}\" }";
    let asked = |token: &str| request("GET", &format!("/?token={token}&challenge=c"), &[], "");
    let with = build(file, &[("token", "s3cret")]).unwrap();
    assert!(answer(&with, &asked("s3cret")).unwrap().is_some());
    for wrong in ["s3cre", "s3crett", "S3cret", "", "${token}"] {
        assert_eq!(answer(&with, &asked(wrong)), Ok(None), "{wrong}");
    }
    let half = file.replace("${token}", "a${token}");
    for unset in [build(file, &[]), build(file, &[("token", "")]), build(&half, &[])].map(Result::unwrap) {
        for any in ["s3cret", "", "a", "${token}"] {
            assert_eq!(answer(&unset, &asked(any)), Ok(None), "{any}");
        }
        assert!(!unset.takes("GET"));
    }
}

#[test]
fn what_is_echoed_has_a_length_and_a_header_no_line_break() {
    let file = "verify = false\nmatch = { methods = [\"GET\"] }\nanswer = { text = \"{query:c}\" }";
    let scheme = build(file, &[]).unwrap();
    let asked = |length: usize| request("GET", &format!("/?c={}", "x".repeat(length)), &[], "");
    let answered = answer(&scheme, &asked(ECHO_BYTES_MAX)).unwrap().unwrap();
    assert_eq!(answered.2.len(), ECHO_BYTES_MAX);
    assert_eq!(answer(&scheme, &asked(ECHO_BYTES_MAX + 1)), Err(Reject::ChallengeRefused));
    let file =
        "verify = false\nmatch = { methods = [\"GET\"] }\nanswer = { headers = { X-Echo = \"{query:c}\" } }";
    let scheme = build(file, &[]).unwrap();
    for bad in ["a%0d%0aSet-Cookie:%20x", "a%00", "%C3%A9", "%20a"] {
        let delivery = request("GET", &format!("/?c={bad}"), &[], "");
        assert_eq!(answer(&scheme, &delivery), Err(Reject::ChallengeRefused), "{bad}");
    }
}

#[test]
fn a_file_that_would_answer_too_much_is_refused_with_what_is_allowed() {
    for (file, part) in [
        ("match = {}", "match: found what every event is"),
        ("match = { content_type = \"application/json\" }", "match: found what every event is"),
        ("match = { methods = [\"get\"] }", "match.methods: found [\"get\"]"),
        ("match = { present = [\"cookie:x\"] }", "`cookie:x` names no place"),
        ("match = { equal = { \"json:/a\" = [] } }", "match.equal: found an empty list"),
        ("match = { equal = { \"json:/a\" = 1.5 } }", "text, a whole number, a boolean, or a list"),
        ("match = { methods = [\"GET\"] }\nanswer = { status = 302 }", "answer.status: found 302"),
        (
            "match = { methods = [\"GET\"] }\nanswer = { status = 204, text = \"x\" }",
            "a body with status 204",
        ),
        ("match = { methods = [\"GET\"] }\nanswer = { text = \"x\", json = 1 }", "`text` and `json`"),
        ("match = { methods = [\"GET\"] }\nanswer = { json = 1.5 }", "answer.json: found float"),
        ("match = { methods = [\"GET\"] }\nanswer = { text = \"{bdy}\" }", "such as {json:/challenge}"),
        (
            "match = { methods = [\"GET\"] }\nanswer = { headers = { Set-Cookie = \"a=b\" } }",
            "\"set-cookie\"",
        ),
        ("match = { methods = [\"GET\"] }\nanswer = { headers = { A = \"b\\n\" } }", "visible ASCII"),
        (
            "match = { methods = [\"GET\"] }\nanswer = { text = \"{query:c}\", headers = { content-type = \"text/html\" } }",
            "text/plain, application/json, text/xml",
        ),
        (
            "match = { methods = [\"GET\"] }\nanswer = { headers = { content-type = \"{query:c}\" } }",
            "text/plain, application/json, text/xml",
        ),
        ("match = { equal = { \"query:t\" = \"${tokn}\" } }", "found ${tokn}; allowed: a setting"),
        (
            "match = { equal = { \"header:A\" = \"x\", \"header:a\" = \"y\" } }",
            "twice; allowed: each place once",
        ),
        ("match = { pth = \"/x\" }", "unknown field `pth`"),
    ] {
        let error = build(file, &[]).unwrap_err();
        assert!(error.contains(part), "{file}:\n{error}");
    }
}

#[test]
fn a_file_that_would_do_too_much_for_an_answer_is_refused_with_what_is_allowed() {
    for (file, part) in [
        ("match = { path = \"/x\" }", "`verify = false` with `match.path`"),
        ("verify = false\nmatch = { path = \"x?y\" }", "match.path: found \"x?y\""),
        (
            "verify = false\nmatch = { path = \"/x\", methods = [\"POST\"] }",
            "GET and HEAD, with `match.path`",
        ),
        ("verify = false\nmatch = { path = \"/x\" }\ncapture = \"query:s\"", "at the source's own path"),
        ("match = { methods = [\"GET\"] }\ncapture = \"query:s\"", "no GET or HEAD with `capture`"),
        ("match = { only_keys = [\"a\", \"a\"] }", "match.only_keys: found 2 keys"),
        ("match = { matching = { \"json:/a\" = \"[\" } }", "match.matching: found \"[\""),
        ("match = { matching = { \"json:/a\" = \"a)|(b\" } }", "a regular expression"),
        (
            "match = { matching = { \"header:A\" = \"x\", \"header:a\" = \"y\" } }",
            "twice; allowed: each place once",
        ),
        (
            "match = { present = [\"json:/a\"] }\nanswer = { text = \"{computed:x}\" }",
            "no value \"x\" is computed",
        ),
        (
            "match = { present = [\"json:/a\"] }\ncomputed.x = { algorithm = \"md5\", of = \"{json:/a}\" }",
            "computed.x.algorithm: found \"md5\"; allowed: sha1, sha256",
        ),
        (
            "match = { present = [\"json:/a\"] }\ncomputed.x = { algorithm = \"sha1\", of = \"a\", encoding = \"text\" }",
            "computed.x.encoding: found \"text\"; allowed: hex, base64, base64url",
        ),
        (
            "verify = false\nmatch = { present = [\"json:/a\"] }\n\
             computed.x = { algorithm = \"hmac-sha1\", of = \"{json:/a}\" }",
            "found json:/a, of any shape; allowed: a `match.matching` on every place",
        ),
        (
            "verify = false\nmatch = { matching = { \"json:/a\" = \"^[0-9]+$\" } }\n\
             computed.x = { algorithm = \"hmac-sha1\", of = \"{json:/a}\" }",
            "no `^`, `$`",
        ),
        (
            "verify = false\nmatch = { present = [\"json:/u\"] }\nvisit = { from = \"json:/u\", pattern = \"https://a/\" }",
            "`visit` only where the request is verified",
        ),
        (
            "match = { present = [\"json:/u\"] }\nvisit = { from = \"json:/u\", pattern = \"https://.*/\" }",
            "visit.pattern",
        ),
        (
            "match = { present = [\"json:/a\"] }\n\
             answer = { text = \"<a>{json:/a}</a>\", headers = { content-type = \"text/xml\" } }",
            "fixed text, or another media type",
        ),
    ] {
        let error = build(file, &[]).unwrap_err();
        assert!(error.contains(part), "{file}:\n{error}");
    }
}

#[test]
fn a_body_of_one_key_and_a_value_of_one_shape_select() {
    let file = r#"
verify = false
match = { only_keys = ["challenge"], matching = { "json:/challenge" = "[0-9a-f]{4}|${mode}" } }
answer = { json = { challenge = "{json:/challenge}" } }"#;
    let scheme = build(file, &[("mode", "a.c")]).unwrap();
    let sent = |body: &str| answer(&scheme, &request("POST", "/", &[], body)).unwrap().is_some();
    assert!(sent(r#"{"challenge":"00ff"}"#) && sent(r#"{"challenge":"a.c"}"#));
    for body in [
        r#"{"challenge":"00ff","event":"x"}"#,
        r#"{"challenge":"00FF"}"#,
        r#"{"challenge":"00ff0"}"#,
        r#"{"challenge":"abc"}"#,
        r#"{"challenge":["00ff"]}"#,
        r#"["challenge"]"#,
    ] {
        assert!(!sent(body), "{body}");
    }
    let alone = build("verify = false\nmatch = { only_keys = [\"a\"] }", &[]).unwrap();
    assert!(answer(&alone, &request("POST", "/", &[], "{\"a\":{}}")).unwrap().is_some());
    assert_eq!(answer(&alone, &request("POST", "/", &[], "")), Ok(None));
}

#[test]
fn what_is_computed_stands_in_texts_json_and_headers() {
    let file = r#"
verify = false
match = { methods = ["GET"], matching = { "query:c" = "[0-9]+" } }
computed.digest = { algorithm = "sha256", of = "{query:c}${token}{{", encoding = "base64" }
computed.mac = { algorithm = "hmac-sha1", of = "v0:{query:c}" }
computed.url = { algorithm = "sha512", of = "{query:c}", encoding = "base64url" }
answer = { json = { plain = "{query:c}", made = "{computed:mac}" }, headers = { x-a = "{computed:digest}", x-b = "{computed:url}" } }"#;
    let scheme = build(file, &[("token", "t{o}k")]).unwrap();
    let (status, headers, body) = answer(&scheme, &request("GET", "/?c=12", &[], "")).unwrap().unwrap();
    let digest = STANDARD.encode("Sha256 of 12t{o}k{");
    let url = URL_SAFE_NO_PAD.encode("Sha512 of 12");
    assert_eq!(status, 200);
    assert_eq!(headers, format!("x-a: {digest}; x-b: {url}; content-type: application/json; {NOSNIFF}"));
    assert_eq!(body, format!("{{\"made\":\"{}\",\"plain\":\"12\"}}", hex::encode("HmacSha1 of v0:12")));
    let delivery = request("GET", "/?c=12", &[], "");
    let keyless = |made: Made, text: &[u8]| minted(made, text).filter(|_| !made.needs_key());
    let refused = scheme.handshakes.unverified(&delivery, &keyless).unwrap_err();
    assert_eq!(refused.reject, Reject::NoActiveSecret);
    let long = request("GET", &format!("/?c={}", "1".repeat(ECHO_BYTES_MAX + 1)), &[], "");
    assert_eq!(answer(&scheme, &long), Err(Reject::ChallengeRefused), "what is signed has a length too");
    for (text, signed) in
        [("v0:12", true), ("v0:", false), ("v0:12 ", false), ("12", false), ("v0:1a", false)]
    {
        assert_eq!(scheme.handshakes.would_sign(text.as_bytes()), signed, "{text}");
    }
}

#[test]
fn a_public_key_lends_no_mac() {
    let file = "verify = false\nmatch = { matching = { \"query:c\" = \"a\" }, methods = [\"GET\"] }\n\
                computed.x = { algorithm = \"hmac-sha256\", of = \"{query:c}\" }";
    let scheme = SCHEME.replace("hmac-sha256\"", "ed25519\"\nsecret = \"hex\"");
    let text = format!("name = \"acme\"\ntitle = \"Acme\"\n{scheme}[[handshakes]]\nname = \"hello\"\n{file}");
    let definition: Definition = toml::from_str(&text).unwrap();
    let problems = Scheme::build(&definition, None, &BTreeMap::new()).unwrap_err();
    assert!(problems[0].to_string().contains("no keys that a MAC can be made with"), "{problems:?}");
}

#[test]
fn a_path_of_its_own_is_no_method_of_the_source() {
    let file = "verify = false\nmatch = { path = \"/.well-known/acme\" }\nanswer = { text = \"${token}\" }";
    let scheme = build(file, &[("token", "t")]).unwrap();
    let at = |method: &str, target: &str| {
        scheme
            .handshakes
            .at_path(&request(method, target, &[], ""), &minted)
            .unwrap()
            .map(|answer| answer.body)
    };
    for method in ["GET", "HEAD"] {
        assert_eq!(at(method, "/.well-known/acme?x=1").as_deref(), Some("t"));
    }
    assert_eq!((at("POST", "/.well-known/acme"), at("GET", "/in/acme")), (None, None));
    assert_eq!(answer(&scheme, &request("GET", "/.well-known/acme", &[], "")), Ok(None));
    assert!(!scheme.takes("GET") && scheme.handshakes.paths().eq(["/.well-known/acme"]));
    assert!(
        build(file, &[]).unwrap().handshakes.paths().next().is_none(),
        "without its setting there is none"
    );
}

#[test]
fn a_url_to_visit_is_handed_out_where_all_of_it_matches() {
    let file = "match = { equal = { \"header:X-Type\" = \"Confirm\" } }\n\
                visit = { from = \"json:/u\", pattern = \"https://sns\\\\.[a-z0-9-]+\\\\.example\\\\.com/.*\" }";
    let scheme = build(file, &[]).unwrap();
    let key = Key::new(&scheme, "live", b"0123456789abcdef").unwrap();
    let verifier = Verifier::new(Arc::new(scheme), vec![key]);
    let sent = |url: &str| {
        let mut delivery = request("POST", "/", &[("x-type", "Confirm")], &format!("{{\"u\":\"{url}\"}}"));
        let now = delivery.received_at;
        sign(verifier.scheme(), b"0123456789abcdef", &mut delivery, now).unwrap();
        let verified = verifier.verify(delivery, now).unwrap();
        let answered = verifier.answer(&verified, now).map_err(|refused| refused.reject);
        answered.map(|answer| answer.unwrap().visit.map(|url| url.as_str().to_owned()))
    };
    let good = "https://sns.eu-1.example.com/?Action=Confirm&Token=2336412f37";
    assert_eq!(sent(good), Ok(Some(good.to_owned())));
    for bad in [
        "http://sns.eu-1.example.com/",
        "https://sns.eu-1.example.com.evil.net/",
        "https://evil.net/https://sns.eu-1.example.com/",
        "https://sns.eu-1.example.com@evil.net/",
        "https://sns.eu-1.example.com/a b",
        "https://SNS.eu-1.example.com/",
    ] {
        assert_eq!(sent(bad), Err(Reject::ChallengeRefused), "{bad}");
    }
}

#[test]
fn what_a_sender_demands_for_its_events_is_fixed_text() {
    let built = |answer: &str| build(&format!("match = {{ methods = [\"GET\"] }}\n[answer]\n{answer}"), &[]);
    let answer = built("text = \"Hello API Event Received\"").unwrap().answer.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, "Hello API Event Received"));
    let xml = "status = 202\ntext = \"<ok/>\"\nheaders = { Content-Type = \"text/xml\" }";
    let answer = built(xml).unwrap().answer.unwrap();
    let headers = [("content-type", "text/xml"), ("x-content-type-options", "nosniff")];
    assert!(answer.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(headers));
    assert!(built("status = 200").unwrap().answer.unwrap().body.is_empty());
    for (answer, part) in [
        ("text = \"{json:/id}\"", "answer: found a value of the event; allowed: fixed text"),
        ("status = 404", "answer.status: found 404; allowed: 200 to 299"),
        (
            "text = \"a\"\nheaders = { content-type = \"text/html\" }",
            "text/plain, application/json, text/xml",
        ),
    ] {
        let error = built(answer).unwrap_err();
        assert!(error.contains(part), "{answer}:\n{error}");
    }
}

proptest! {
    #[test]
    fn whatever_text_is_asked_comes_back_as_it_is(text in "\\PC{1,40}|[\\x00-\\x7f]{1,40}") {
        let file = "verify = false\nmatch = { present = [\"json:/c\"] }\nanswer = { text = \"<{json:/c}>\" }";
        let json = "verify = false\nmatch = { present = [\"json:/c\"] }\nanswer = { json = { c = \"{json:/c}\" } }";
        let body = serde_json::json!({ "c": &text }).to_string();
        let answered = |file: &str| answer(&build(file, &[]).unwrap(), &request("POST", "/", &[], &body));
        prop_assert_eq!(answered(file).unwrap().unwrap().2, format!("<{text}>"));
        prop_assert_eq!(answered(json).unwrap().unwrap().2, body.clone());
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..80), query in "[ -~]{0,40}") {
        let file = "verify = false\nmatch = { equal = { \"json:/a/0\" = [1, true, \"x\"], \"form:b\" = \"c\" } }\n\
                    answer = { text = \"{query:d}{header:e}\" }";
        let mut delivery = request("POST", &format!("/?{query}"), &[("e", "f")], "");
        delivery.body = body.into();
        prop_assert_eq!(answer(&build(file, &[]).unwrap(), &delivery), Ok(None));
    }
}
