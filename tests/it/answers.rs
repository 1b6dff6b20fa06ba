//! Answers that a sender demands: values computed for its challenge, paths of their own, fixed words for every event.

use std::fs;

use aws_lc_rs::digest;
use serde_json::json;

use crate::gateway::*;

/// A gateway with a provider of the operator's own, whose schemes and handshakes `file` has.
pub fn own(file: &str, setup: Setup) -> Gateway {
    let mut gateway = setup.set("providers", "dir = \"providers.d\"").prepare();
    fs::create_dir(gateway.path("providers.d")).unwrap();
    let head = "name = \"acme\"\ntitle = \"Acme\"\n";
    fs::write(gateway.path("providers.d/acme.toml"), format!("{head}{file}")).unwrap();
    gateway.start();
    gateway
}

/// A scheme that signs the body, and no more.
pub const SCHEME: &str = "[[schemes]]\nname = \"v1\"\nalgorithm = \"hmac-sha256\"\nsigned = [\"{body}\"]\n\
                          signature = { from = \"header:X-Signature\", encoding = \"hex\" }\n";

fn get(gateway: &Gateway, target: &str) -> Answer {
    Client::call(gateway.ingress(), "GET", target, &[], b"").expect("an answer")
}

#[test]
fn a_signed_token_comes_back_with_its_mac() {
    let file = format!(
        "{SCHEME}[[handshakes]]\nname = \"url_validation\"\n\
         match = {{ equal = {{ \"json:/event\" = \"endpoint.url_validation\" }} }}\n\
         computed.mac = {{ algorithm = \"hmac-sha256\", of = \"{{json:/payload/plainToken}}\" }}\n\
         answer = {{ json = {{ plainToken = \"{{json:/payload/plainToken}}\", encryptedToken = \"{{computed:mac}}\" }} }}\n"
    );
    let gateway = own(&file, Setup::new().source("acme", "acme", ""));
    let body = json!({ "event": "endpoint.url_validation", "payload": { "plainToken": "qgg8vlvZRS6" } });
    let asked = generic("acme", body.to_string().as_bytes());
    let answer = gateway.deliver(&asked);
    let encrypted = hex::encode(mac(&secret("acme"), &[b"qgg8vlvZRS6"]));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({ "plainToken": "qgg8vlvZRS6", "encryptedToken": encrypted }));
    assert_eq!(
        gateway.deliver(&asked.without("x-signature")).status,
        401,
        "nothing is signed for a stranger"
    );
    assert!(gateway.claim("acme", 10).is_empty());
}

#[test]
fn a_challenge_is_signed_for_anybody_and_that_signature_is_good_for_nothing_else() {
    let file = format!(
        "[settings.public_key]\nhelp = \"the public key\"\nrequired = true\n{SCHEME}[[handshakes]]\n\
         name = \"challenge\"\nverify = false\n\
         match = {{ methods = [\"GET\"], matching = {{ \"query:bt_challenge\" = \"[a-f0-9]{{20,32}}\" }} }}\n\
         computed.mac = {{ algorithm = \"hmac-sha256\", of = \"{{query:bt_challenge}}\" }}\n\
         answer = {{ text = \"${{public_key}}|{{computed:mac}}\" }}\n"
    );
    let source = Setup::new().source("acme", "acme", "settings = { public_key = \"pk\" }");
    let gateway = own(&file, source);
    let challenge = "12345678901234567890";
    let answer = get(&gateway, &format!("/in/acme?bt_challenge={challenge}"));
    let signature = hex::encode(mac(&secret("acme"), &[challenge.as_bytes()]));
    assert_eq!((answer.status, answer.text()), (200, format!("pk|{signature}")));
    for bad in ["goodbye%20cruel%20world", "20F9F8ED05F77439FE955C977E4C8A53", "abc", "{%22id%22:1}", ""] {
        let answer = get(&gateway, &format!("/in/acme?bt_challenge={bad}"));
        assert_eq!(answer.status, 401, "{bad}");
    }
    let stolen = generic("acme", challenge.as_bytes()).with("x-signature", &signature);
    assert_eq!(gateway.deliver(&stolen).status, 401, "a challenge's answer passed as an event's signature");
    let refused = [("source", "acme"), ("reason", "signature_mismatch")];
    assert_eq!(gateway.metric("hookgate_rejected_total", &refused), 1.0);
    assert_eq!(gateway.deliver(&generic("acme", b"{\"id\":1}")).outcome(), "accepted");
    assert_eq!(gateway.drain("acme", 1).len(), 1);
}

#[test]
fn a_digest_of_challenge_token_and_endpoint_is_answered_as_json() {
    let file = format!(
        "[settings.token]\nhelp = \"the token\"\n[settings.endpoint]\nhelp = \"the endpoint\"\n{SCHEME}[[handshakes]]\n\
         name = \"challenge\"\nverify = false\nmatch = {{ methods = [\"GET\"] }}\n\
         computed.hash = {{ algorithm = \"sha256\", of = \"{{query:challenge_code}}${{token}}${{endpoint}}\" }}\n\
         answer = {{ json = {{ challengeResponse = \"{{computed:hash}}\" }} }}\n"
    );
    let settings = "settings = { token = \"tok-1\", endpoint = \"https://hooks.example.com/in/acme?x=1\" }";
    let gateway = own(&file, Setup::new().source("acme", "acme", settings));
    let answer = get(&gateway, "/in/acme?x=1&challenge_code=a8628072");
    let text = "a8628072tok-1https://hooks.example.com/in/acme?x=1";
    let hash = hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.json(), json!({ "challengeResponse": hash }));
    assert_eq!(get(&gateway, "/in/acme?x=1").status, 401, "without a challenge there is none");
}

const WELL_KNOWN: &str = "[[handshakes]]\nname = \"well_known\"\nverify = false\n\
                          match = { path = \"/.well-known/acme/challenge\" }\nanswer = { text = \"${challenge}\" }\n";

#[test]
fn a_path_of_its_own_is_answered_beside_the_sources() {
    let file = format!("[settings.challenge]\nhelp = \"the hash\"\n{SCHEME}{WELL_KNOWN}");
    let setup = Setup::new().source("acme", "acme", "settings = { challenge = \"66b01d44\" }");
    let gateway = own(&file, setup.source("other", "acme", ""));
    let answer = get(&gateway, "/.well-known/acme/challenge?x=1");
    assert_eq!((answer.status, answer.text().as_str()), (200, "66b01d44"));
    assert_eq!(
        (answer.header("content-type"), answer.header("x-content-type-options")),
        ("text/plain", "nosniff")
    );
    let mut client = Client::new(gateway.ingress());
    client.send(b"HEAD /.well-known/acme/challenge HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
    let posted = Client::call(gateway.ingress(), "POST", "/.well-known/acme/challenge", &[], b"{}").unwrap();
    assert_eq!(posted.status, 404);
    assert_eq!(get(&gateway, "/.well-known/acme").status, 404);
    assert_eq!(get(&gateway, "/in/acme").status, 405, "at the source's path it is no method");
    let counted =
        |outcome| gateway.metric("hookgate_requests_total", &[("source", "acme"), ("outcome", outcome)]);
    until("the HEAD is counted", std::time::Duration::from_secs(5), || counted("handshake") == 2.0);
}

#[test]
fn two_sources_at_one_path_do_not_start() {
    let file = format!("[settings.challenge]\nhelp = \"the hash\"\n{SCHEME}{WELL_KNOWN}");
    let settings = "settings = { challenge = \"c\" }";
    for (lines, other) in
        [(settings, "sources.acme answers too"), ("path = \"/.well-known/acme/challenge\"", "answers too")]
    {
        let setup = Setup::new().source("acme", "acme", settings).source("other", "acme", lines);
        let gateway = setup.set("providers", "dir = \"providers.d\"").prepare();
        fs::create_dir(gateway.path("providers.d")).unwrap();
        let text = format!("name = \"acme\"\ntitle = \"Acme\"\n{file}");
        fs::write(gateway.path("providers.d/acme.toml"), text).unwrap();
        let output = gateway.run(&["check"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(told.contains("/.well-known/acme/challenge") && told.contains(other), "{told}");
    }
}

#[test]
fn every_event_and_each_copy_of_it_gets_the_words_that_the_sender_demands() {
    let xml = "<Envelope><Ack>true</Ack></Envelope>";
    let file = format!(
        "[answer]\ntext = \"{xml}\"\nheaders = {{ content-type = \"text/xml\" }}\n{SCHEME}\
         [[schemes]]\nname = \"empty\"\nalgorithm = \"hmac-sha256\"\nsigned = [\"{{body}}\"]\n\
         signature = {{ from = \"header:X-Signature\", encoding = \"hex\" }}\nanswer = {{ status = 202 }}\n"
    );
    let setup = Setup::new()
        .source("acme", "acme", "")
        .source("own", "acme", "success_status = 201\nduplicate_status = 204")
        .source("empty", "acme", "scheme = \"empty\"");
    let gateway = own(&file, setup);
    for _ in 0..2 {
        let answer = gateway.deliver(&generic("acme", b"{\"id\":1}"));
        assert_eq!((answer.status, answer.text().as_str()), (200, xml));
        assert_eq!(answer.header("content-type"), "text/xml");
        assert_eq!(answer.header("set-cookie"), "");
        let answer = gateway.deliver(&generic("empty", b"{\"id\":1}"));
        assert_eq!((answer.status, answer.body.len()), (202, 0));
    }
    let statuses = [(201, xml), (204, "")];
    for (status, body) in statuses {
        let answer = gateway.deliver(&generic("own", b"{\"id\":1}"));
        assert_eq!((answer.status, answer.text().as_str()), (status, body));
    }
    assert_eq!(gateway.deliver(&generic("acme", b"{\"id\":1}").without("x-signature")).status, 401);
    for source in ["acme", "own", "empty"] {
        assert_eq!(gateway.drain(source, 1).len(), 1, "{source}: one event, whatever was answered");
    }
}
