//! Client certificates: each source by its own authority and subjects, whatever the handshake has let in.

use std::fs;

use rustls::version::{TLS12, TLS13};

use super::https::{Caller, Https};
use super::party::{Authority, Issued};
use super::prepared;
use crate::gateway::*;

/// The authorities of the server and of two senders.
struct Parties {
    web: Authority,
    bank: Authority,
    post: Authority,
}

impl Parties {
    fn new() -> Self {
        Self { web: Authority::new("web"), bank: Authority::new("bank"), post: Authority::new("post") }
    }

    /// `shop` wants no certificate, `bank` one of two subjects, `post` any of its authority.
    fn gateway(&self) -> Gateway {
        let subjects = r#"subjects = ["hooks.bank.example", "O=Acme\\, Inc.,CN=Bank"]"#;
        let bank = format!("client_certificates = {{ ca_file = \"bank.pem\", {subjects} }}");
        let post = "client_certificates = { ca_file = \"post.pem\" }";
        let setup = Setup::new().source("bank", "stripe", &bank).source("post", "stripe", post);
        let mut gateway = prepared(&self.web, setup);
        fs::write(gateway.path("bank.pem"), &self.bank.pem).unwrap();
        fs::write(gateway.path("post.pem"), &self.post.pem).unwrap();
        gateway.start();
        gateway
    }

    fn status(&self, gateway: &Gateway, own: Option<&Issued>, source: &str) -> u16 {
        self.delivered(gateway, Caller { own, ..Caller::of(&self.web.pem) }, source)
    }

    /// The same of a client that shows its certificate to whoever asks for one.
    fn bold(&self, gateway: &Gateway, own: &Issued, source: &str) -> u16 {
        let caller = Caller { whoever_asks: true, ..Caller::of(&self.web.pem).showing(own) };
        self.delivered(gateway, caller, source)
    }

    fn delivered(&self, gateway: &Gateway, caller: Caller<'_>, source: &str) -> u16 {
        let mut client = Https::connect(gateway.ingress(), &caller.config()).unwrap();
        let answer = client.deliver(&stripe(source, &stripe_event("evt_1"))).unwrap();
        assert!(answer.status != 403 || answer.code() == "forbidden", "{}", answer.text());
        answer.status
    }
}

fn rejected(gateway: &Gateway, source: &str, reason: &str) -> f64 {
    gateway.metric("hookgate_rejected_total", &[("source", source), ("reason", reason)])
}

#[test]
fn each_source_takes_its_own_senders_certificates_and_no_others() {
    let parties = Parties::new();
    let gateway = parties.gateway();
    let by_dns = parties.bank.client("hooks.bank.example", "someone");
    let by_name = parties.bank.client("other.bank.example", "Bank");
    let neither = parties.bank.client("other.bank.example", "bank");
    let posts = parties.post.client("hooks.bank.example", "Bank");
    for own in [&by_dns, &by_name] {
        assert_eq!(parties.status(&gateway, Some(own), "bank"), 200);
        assert_eq!(parties.status(&gateway, Some(own), "post"), 403, "another source's authority");
    }
    assert_eq!(parties.status(&gateway, Some(&posts), "post"), 200);
    assert_eq!(parties.status(&gateway, Some(&posts), "bank"), 403, "the right names by another authority");
    assert_eq!(parties.status(&gateway, Some(&neither), "bank"), 403);
    assert_eq!(rejected(&gateway, "bank", "client_certificate_refused"), 2.0);
    assert_eq!(rejected(&gateway, "post", "client_certificate_refused"), 2.0);
    for source in ["bank", "post"] {
        assert_eq!(parties.status(&gateway, None, source), 403);
        assert_eq!(rejected(&gateway, source, "client_certificate_missing"), 1.0);
    }
    for own in [None, Some(&posts), Some(&neither)] {
        assert_eq!(parties.status(&gateway, own, "shop"), 200, "who wants none asks for none");
    }
    assert_eq!(gateway.drain("bank", 1).len() + gateway.drain("post", 1).len(), 2);
}

#[test]
fn the_right_certificate_is_no_signature() {
    let parties = Parties::new();
    let gateway = parties.gateway();
    let own = parties.post.client("post.example", "post");
    let mut client =
        Https::connect(gateway.ingress(), &Caller::of(&parties.web.pem).showing(&own).config()).unwrap();
    let forged = Signed { body: stripe_event("evt_2"), ..stripe("post", &stripe_event("evt_1")) };
    assert_eq!(client.deliver(&forged).unwrap().status, 401);
    assert_eq!(client.deliver(&stripe("post", &stripe_event("evt_1"))).unwrap().status, 200);
}

#[test]
fn a_certificate_of_nobodys_authority_counts_for_none_and_ends_nothing() {
    let parties = Parties::new();
    let gateway = parties.gateway();
    let stranger = Authority::new("stranger").client("hooks.bank.example", "Bank");
    assert_eq!(parties.bold(&gateway, &stranger, "shop"), 200, "it always shows it, and nobody asked here");
    for source in ["bank", "post"] {
        assert_eq!(parties.bold(&gateway, &stranger, source), 403);
        assert_eq!(rejected(&gateway, source, "client_certificate_refused"), 1.0);
    }
}

#[test]
fn a_source_without_its_authoritys_file_is_an_error_of_the_configuration() {
    let parties = Parties::new();
    let bad = "client_certificates = { ca_file = \"none.pem\", subjects = [\"bank.example\", \"CN=\"] }";
    let gateway = prepared(&parties.web, Setup::new().source("bank", "stripe", bad));
    let told = || {
        let output = gateway.run(&["check"]);
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(told().contains("sources.bank.client_certificates.ca_file"), "{}", told());
    fs::write(gateway.path("none.pem"), "nothing").unwrap();
    assert!(told().contains("none.pem"), "{}", told());
    fs::write(gateway.path("none.pem"), &parties.bank.pem).unwrap();
    assert!(told().contains("sources.bank.client_certificates.subjects[1]"), "{}", told());
}

/// Whoever began to call before a source wanted a certificate is asked for it with the next connection.
#[test]
fn senders_that_were_there_before_a_certificate_was_wanted_get_to_show_it() {
    let parties = Parties::new();
    let own = parties.bank.client("hooks.bank.example", "Bank");
    for version in [&TLS12, &TLS13] {
        let mut gateway = prepared(&parties.web, Setup::new().source("bank", "stripe", ""));
        gateway.start();
        let config = Caller { versions: &[version], ..Caller::of(&parties.web.pem).showing(&own) }.config();
        let deliver = |client: &mut Https, id| client.deliver(&stripe("bank", &stripe_event(id))).unwrap();
        let mut before = Https::connect(gateway.ingress(), &config).unwrap();
        assert_eq!(deliver(&mut before, "evt_1").status, 200);
        fs::write(gateway.path("bank.pem"), &parties.bank.pem).unwrap();
        let wanted = "client_certificates = { ca_file = \"bank.pem\" }";
        gateway.change(|setup| setup.source("bank", "stripe", wanted));
        let answer = gateway.admin_call("POST", "/v1/reload", &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let refused = deliver(&mut before, "evt_2");
        assert_eq!((refused.status, refused.header("connection")), (403, "close"));
        let mut after = Https::connect(gateway.ingress(), &config).unwrap();
        assert_eq!(deliver(&mut after, "evt_2").status, 200, "{version:?}");
    }
}

#[test]
fn a_reload_takes_other_authorities_and_another_certificate_over() {
    let parties = Parties::new();
    let gateway = parties.gateway();
    let (bank, post) =
        (parties.bank.client("hooks.bank.example", "b"), parties.post.client("p.example", "p"));
    assert_eq!(parties.status(&gateway, Some(&post), "post"), 200);
    let next = parties.web.server();
    next.put(&gateway.path(""));
    // The two change places.
    fs::write(gateway.path("post.pem"), &parties.bank.pem).unwrap();
    let answer = gateway.admin_call("POST", "/v1/reload", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(parties.status(&gateway, Some(&bank), "post"), 200);
    assert_eq!(parties.status(&gateway, Some(&bank), "bank"), 200);
    let config = Caller::of(&parties.web.pem).config();
    assert_eq!(Https::connect(gateway.ingress(), &config).unwrap().shown(), next.der());
    assert_eq!(parties.bold(&gateway, &post, "post"), 403, "nobody's any more");
    fs::write(gateway.path("key.pem"), "nothing").unwrap();
    let answer = gateway.admin_call("POST", "/v1/reload", &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (422, "invalid_configuration"), "{}", answer.text());
    assert!(answer.text().contains("ingress.tls.certificate"), "{}", answer.text());
    assert_eq!(Https::connect(gateway.ingress(), &config).unwrap().shown(), next.der());
}
