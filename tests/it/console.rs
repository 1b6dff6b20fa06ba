//! The console's page and files: served without a token, by a policy that lets no text of a sender's be run, to no other site.

use crate::gateway::*;

const LOCAL: (&str, &str) = ("host", "localhost");

fn file(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    Client::call(gateway.admin(), "GET", path, headers, b"").unwrap()
}

/// What a page or a script names in quotes behind a word, such as the files that it is made of.
fn named<'t>(text: &'t str, before: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn the_page_and_all_that_it_names_are_served_without_a_token_under_a_policy() {
    let gateway = Setup::new().admin_token("an operator's token").source("plain", "generic", "").start();
    let page = file(&gateway, "/", &[("host", "gateway.example")]);
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let text = page.text();
    let mut wanted: Vec<String> =
        named(&text, "src=\"").chain(named(&text, "href=\"")).map(|path| format!("/{path}")).collect();
    wanted.retain(|path| path.starts_with("/console/"));
    assert!(wanted.iter().any(|path| path == "/console/app.js"), "{wanted:?}");
    let mut served = Vec::new();
    while let Some(path) = wanted.pop() {
        let answer = file(&gateway, &path, &[("host", "gateway.example")]);
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        for (name, value) in [
            ("cache-control", "no-cache"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{path}: {name}");
        }
        let tag = answer.header("etag").to_owned();
        let again = file(&gateway, &path, &[("host", "gateway.example"), ("if-none-match", &tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let text = answer.text();
        served.push(path);
        let more = named(&text, "from \"./").map(|name| format!("/console/{name}"));
        wanted.extend(more.filter(|path| !served.contains(path)));
        wanted.sort();
        wanted.dedup();
    }
    assert!(served.len() > 15, "{served:?}");
    // What the page asks for is as closed as ever.
    assert_eq!(file(&gateway, "/v1/events", &[("host", "gateway.example")]).status, 401);
}

#[test]
fn without_a_token_the_page_is_served_to_this_machine_and_into_no_other_page() {
    let gateway = Setup::new().source("plain", "generic", "").start();
    let status = |path: &str, headers: &[(&str, &str)]| file(&gateway, path, headers).status;
    assert_eq!(status("/", &[LOCAL]), 200);
    assert_eq!(status("/", &[("host", "evil.example")]), 403, "a name that leads here by rebinding");
    let cross = ("sec-fetch-site", "cross-site");
    assert_eq!(status("/", &[LOCAL, cross, ("sec-fetch-mode", "navigate")]), 200, "a link");
    assert_eq!(status("/console/app.js", &[LOCAL, cross, ("sec-fetch-mode", "no-cors")]), 403);
    assert_eq!(status("/v1/events", &[LOCAL, cross, ("sec-fetch-mode", "navigate")]), 403);
    for path in
        ["/console", "/console/", "/console/none.js", "/console/..%2Findex.html", "/console/%2e%2e/app.js"]
    {
        assert_eq!(status(path, &[LOCAL]), 404, "{path}");
    }
}
