//! What the document is made of: by a test, which compares it with `openapi.json`, since the code that makes it is a twentieth
//! of what a program of this size holds.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::super::{about, drain, sample, schema, sources};
use super::{calls, dead};

/// The document, as `openapi.json` has it.
pub(crate) fn described() -> String {
    let document = serde_json::to_value(Document::openapi()).expect("names and texts are JSON");
    format!("{document:#}\n")
}

/// What opens the calls.
const TOKEN: &str = "token";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "hookgate, the admin listener",
        description = "Events, their history, notices, what is configured, and the inbox for workers. Tokens: `admin.token` \
                       opens all of it, `admin.read_token` what changes nothing, `admin.worker_token` the inbox."
    ),
    modifiers(&Token),
    security((), ("token" = [])),
    tags(
        (name = "gateway", description = "What runs, and how it goes."),
        (name = "events", description = "Events in the journal."),
        (name = "history", description = "What came in and what became of it, to search in."),
        (name = "quarantine", description = "Requests whose proof failed, kept to be judged again."),
        (name = "dead letters", description = "Messages that workers gave up, where RabbitMQ is the sink."),
        (name = "configuration", description = "Sources, providers, values and where they come from."),
        (name = "inbox", description = "Events for workers that take them over HTTP."),
    ),
    paths(
        about::about,
        about::stats,
        super::answer::document,
        calls::livez,
        calls::readyz,
        calls::metrics,
        calls::notices,
        drain::show,
        drain::begin,
        drain::cancel,
        calls::reload,
        sources::list,
        sources::one,
        sources::providers,
        sources::config,
        calls::arm,
        sample::sample,
        schema::check,
        calls::events,
        calls::tail,
        calls::event,
        calls::event_body,
        calls::replay,
        calls::forget,
        calls::release,
        calls::requeue,
        calls::drop_events,
        calls::history_events,
        calls::history_event,
        calls::refusals,
        calls::failures,
        calls::quarantine,
        calls::quarantined,
        calls::quarantined_body,
        calls::requeue_quarantined,
        calls::drop_quarantined,
        dead::dead,
        dead::requeue_dead,
        dead::drop_dead,
        calls::claim,
        calls::ack,
        calls::nack,
        calls::extend,
    )
)]
struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.security_schemes.insert(TOKEN.to_owned(), scheme);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_no_other() {
        let server = include_str!("../server.rs");
        let routes = server.split("at(\"").skip(1).filter_map(|rest| {
            let (path, rest) = rest.split_once("\", \"")?;
            let (methods, _) = rest.split_once('"')?;
            Some((path.to_owned(), methods.split(", ").map(str::to_lowercase).collect::<Vec<_>>()))
        });
        let document = serde_json::to_value(Document::openapi()).expect("names and texts are JSON");
        let described = document["paths"].as_object().unwrap();
        // Orders have one route and a form each.
        let forms = |path: &str| -> Vec<String> {
            match path.split_once("{action:") {
                Some((before, names)) => {
                    names.trim_end_matches('}').split('|').map(|name| format!("{before}{name}")).collect()
                }
                None => vec![path.to_owned()],
            }
        };
        // The console is a page and its files, and no call.
        let of_the_console = |path: &str| path == "/" || path.starts_with("/console/");
        let routes: Vec<(String, Vec<String>)> = routes.filter(|(path, _)| !of_the_console(path)).collect();
        assert!(routes.len() > 20, "the routes were not found in server.rs");
        for (path, methods) in &routes {
            let found: Vec<&String> = forms(path)
                .iter()
                .flat_map(|form| described.get(form).and_then(|item| item.as_object()))
                .flat_map(|item| item.keys())
                .collect();
            for method in methods {
                let described = found.iter().filter(|known| **known == method).count();
                assert_eq!(described, forms(path).len(), "{method} {path} is not described");
            }
        }
        let known: Vec<String> = routes.iter().flat_map(|(path, _)| forms(path)).collect();
        for path in described.keys() {
            assert!(known.contains(path), "{path} is described and not served");
        }
    }

    /// What is told to who asks for a path that is none.
    #[test]
    fn the_answer_to_an_unknown_path_names_every_call() {
        let server = include_str!("../server.rs");
        let told = server.split("let detail = \"here are ").nth(1).and_then(|rest| rest.split("\";").next());
        let told = told.expect("`unknown` in server.rs says what there is");
        let words: Vec<&str> = told.split(|c: char| !c.is_ascii_alphanumeric() && c != '/').collect();
        let document = serde_json::to_value(Document::openapi()).expect("names and texts are JSON");
        for path in document["paths"].as_object().unwrap().keys() {
            let call =
                path.strip_prefix("/v1/").map_or(&**path, |below| below.split('/').next().unwrap_or(below));
            let named = words.contains(&call) || told.contains(path.as_str());
            assert!(named, "{path}: `unknown` in server.rs does not name «{call}»");
        }
    }
}
