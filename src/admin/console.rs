//! The console: its page at `/`, and what the page is made of at `/console/{file}`. None of it holds anything of anybody's: the
//! page asks the other calls, with a token where one is set.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EntityTag, Header as _, HeaderName,
    IfNoneMatch, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::guard::Area;
use super::server::{AdminParts, problem};

#[derive(RustEmbed)]
#[folder = "src/console/"]
struct Assets;

const PAGE: &str = "index.html";

/// What a file is, by its ending.
const KINDS: [(&str, &str); 5] = [
    (".html", "text/html; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".svg", "image/svg+xml"),
    (".LICENSE", "text/plain; charset=utf-8"),
];

/// What the page may do: run and show what comes from here, call here, and read no text as code or markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What holds for every answer here, beside the policy.
const GUARDS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-cache"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(super) async fn page(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    served(&request, &parts, PAGE)
}

pub(super) async fn asset(request: HttpRequest, parts: Data<AdminParts>, file: Path<String>) -> HttpResponse {
    served(&request, &parts, &file)
}

fn served(request: &HttpRequest, parts: &AdminParts, name: &str) -> HttpResponse {
    if let Some(refused) = parts.refusal(request, Area::Page) {
        return refused;
    }
    let kind = KINDS.iter().find(|(end, _)| name.ends_with(end));
    match kind.and_then(|(_, kind)| Some((kind, Assets::get(name)?))) {
        Some((kind, file)) => answer(request, kind, file),
        None => problem(StatusCode::NOT_FOUND, "not_found", "the console has no such file; it begins at /"),
    }
}

fn answer(request: &HttpRequest, kind: &str, file: EmbeddedFile) -> HttpResponse {
    let tag = EntityTag::new_strong(hex::encode(file.metadata.sha256_hash()));
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut answer = HttpResponse::build(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    for guard in GUARDS {
        answer.insert_header(guard);
    }
    answer.insert_header((CONTENT_SECURITY_POLICY, POLICY)).insert_header((ETAG, tag.to_string()));
    if known {
        answer.finish()
    } else {
        answer.insert_header((CONTENT_TYPE, kind)).body(file.data.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn file(name: &str, headers: &[(&str, &str)]) -> HttpResponse {
        let request =
            headers.iter().fold(TestRequest::get(), |request, header| request.insert_header(*header));
        let (_, kind) = KINDS.iter().find(|(end, _)| name.ends_with(end)).unwrap();
        answer(&request.to_http_request(), kind, Assets::get(name).unwrap())
    }

    #[test]
    fn every_file_has_a_kind_and_the_page_is_there() {
        let names: Vec<_> = Assets::iter().collect();
        assert!(names.iter().any(|name| name == PAGE));
        for name in names {
            assert!(KINDS.iter().any(|(end, _)| name.ends_with(end)), "{name}");
            assert!(!name.contains('/'), "{name}: no path leads into a folder");
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let first = file("app.js", &[]);
        let tag = first.headers().get(ETAG).unwrap().to_str().unwrap().to_owned();
        assert!(tag.len() == 66 && tag.starts_with('"'), "{tag}");
        for (known, status) in
            [(&*tag, 304), (&*format!("\"x\", {tag}"), 304), ("*", 304), ("\"x\"", 200), ("?", 200)]
        {
            assert_eq!(file("app.js", &[("if-none-match", known)]).status().as_u16(), status, "{known}");
        }
    }

    #[test]
    fn nothing_of_the_page_is_code_or_style_in_the_markup() {
        let page = String::from_utf8(Assets::get(PAGE).unwrap().data.into_owned()).unwrap();
        assert_eq!(page.matches("<script").count(), page.matches("<script src=").count());
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" on"));
    }

    #[test]
    fn no_script_of_ours_has_a_text_read_as_markup_or_code() {
        for name in Assets::iter().filter(|name| name.ends_with(".js") && name != "uplot.js") {
            let script = String::from_utf8(Assets::get(&name).unwrap().data.into_owned()).unwrap();
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "eval(",
                "new Function",
            ] {
                assert!(!script.contains(word), "{name}: {word}");
            }
        }
    }
}
