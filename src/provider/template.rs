//! Templates of signed bytes: `{timestamp}.{body}` as a list of pieces.

use std::fmt;

use super::origin::UrlPort;
use crate::extract::Pick;

/// One piece of the signed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Fixed text.
    Literal(String),
    /// The secret's key bytes, under a plain digest.
    Secret,
    /// The time's text exactly as received.
    Timestamp,
    /// The body's bytes.
    Body,
    /// The request's method in upper case.
    Method,
    /// The public URL, then path and query exactly as received.
    Url(UrlPort),
    /// Every field of the urlencoded body, sorted, name and value one after the other.
    FormSorted,
    /// A value of the delivery; without it there is nothing that could have been signed.
    Value(Pick),
}

/// The signed bytes of a scheme, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// What is signed, first to last.
    pub pieces: Vec<Piece>,
}

impl Template {
    /// Reads text in which `{name}` stands for a piece, and `{{` and `}}` for the braces themselves.
    ///
    /// # Errors
    /// A sentence that names the piece and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                literal.push(next);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let (name, after) =
                    after.split_once('}').ok_or_else(|| format!("`{text}` has a `{{` without its `}}`"))?;
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(piece(name)?);
                rest = after;
            } else if next == '}' {
                return Err(format!("`{text}` has a `}}` without its `{{`"));
            } else {
                literal.push(next);
                rest = rest.strip_prefix(next).unwrap_or_default();
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// `text` so that it stands for itself in a template.
    pub fn escape(text: &str) -> String {
        text.replace('{', "{{").replace('}', "}}")
    }

    /// Whether the secret is among what is hashed.
    pub fn holds_secret(&self) -> bool {
        self.pieces.contains(&Piece::Secret)
    }

    /// Whether anything can be added at the end without knowing the secret, under a digest whose state is its output.
    pub fn ends_open(&self) -> bool {
        let last = self.pieces.iter().rev().find(|piece| !matches!(piece, Piece::Literal(_)));
        self.holds_secret() && last != Some(&Piece::Secret)
    }

    /// Whether the body's bytes are signed as they are.
    pub fn covers_body(&self) -> bool {
        self.pieces.contains(&Piece::Body)
    }

    /// Whether all fields of the form are signed. That proves them together only: `a=bc` and `ab=c` read alike.
    pub fn covers_form(&self) -> bool {
        self.pieces.contains(&Piece::FormSorted)
    }

    /// Whether the URL is signed, path and query included.
    pub fn covers_url(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Url(_)))
    }

    /// Whether the time's digits touch a value or the body, so that a digit could be moved between the two and the
    /// signed bytes stay the same.
    pub fn time_touches(&self) -> bool {
        let digit = |c: char| c.is_ascii_digit();
        self.pieces.windows(2).any(|pair| match pair {
            [Piece::Timestamp, Piece::Literal(next)] => next.starts_with(digit),
            [Piece::Literal(before), Piece::Timestamp] => before.ends_with(digit),
            [Piece::Timestamp, _] | [_, Piece::Timestamp] => true,
            _ => false,
        })
    }

    /// Whether the value at `pick` is signed: by itself, or as a part of the body or the URL.
    pub fn covers(&self, pick: &Pick) -> bool {
        let itself = self.pieces.iter().any(|piece| matches!(piece, Piece::Value(value) if value == pick));
        match pick {
            _ if itself => true,
            Pick::Json(_) | Pick::Form(_) | Pick::Body => self.covers_body(),
            Pick::Header(_) | Pick::Jwt(_) | Pick::JwtHeader(_) => false,
            Pick::Query(_) => self.covers_url(),
            Pick::Inside(outer, _) => self.covers(outer),
        }
    }
}

fn piece(name: &str) -> Result<Piece, String> {
    match name {
        "secret" => Ok(Piece::Secret),
        "timestamp" => Ok(Piece::Timestamp),
        "body" => Ok(Piece::Body),
        "method" => Ok(Piece::Method),
        "url" => Ok(Piece::Url(UrlPort::Configured)),
        "url:no_port" => Ok(Piece::Url(UrlPort::Left)),
        "url:std_port" => Ok(Piece::Url(UrlPort::Named)),
        "form_sorted" => Ok(Piece::FormSorted),
        _ => Pick::parse(name).map(Piece::Value).map_err(|_| {
            format!(
                "`{{{name}}}` is no piece; allowed: {{timestamp}}, {{body}}, {{method}}, {{url}}, \
                 {{url:no_port}}, {{url:std_port}}, {{form_sorted}}, {{header:NAME}}, {{json:/pointer}}, \
                 {{form:NAME}}, {{query:NAME}}, {{secret}} with a plain digest"
            )
        }),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => f.write_str(&Self::escape(text))?,
                Piece::Secret => f.write_str("{secret}")?,
                Piece::Timestamp => f.write_str("{timestamp}")?,
                Piece::Body => f.write_str("{body}")?,
                Piece::Method => f.write_str("{method}")?,
                Piece::Url(UrlPort::Configured) => f.write_str("{url}")?,
                Piece::Url(UrlPort::Left) => f.write_str("{url:no_port}")?,
                Piece::Url(UrlPort::Named) => f.write_str("{url:std_port}")?,
                Piece::FormSorted => f.write_str("{form_sorted}")?,
                Piece::Value(pick) => write!(f, "{{{pick}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_prints_as_it_was_read() {
        for text in [
            "{timestamp}.{body}",
            "v0:{header:x-id}:{body}",
            "a{{b}}{method}{query:q}{json:/a/b}",
            "{url}{url:no_port}{url:std_port}{form_sorted}{form:p > json:/a}",
            "",
        ] {
            assert_eq!(Template::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bad_template_says_what_is_allowed() {
        for (text, part) in
            [("{bdy}", "`{bdy}` is no piece"), ("{body", "without its"), ("a}", "without its")]
        {
            assert!(Template::parse(text).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn what_lies_in_a_signed_body_is_signed_and_a_header_only_by_name() {
        let template = Template::parse("{header:X-Id}.{body}").unwrap();
        for (pick, covered) in [("json:/id", true), ("header:x-id", true), ("header:x-other", false)] {
            assert_eq!(template.covers(&Pick::parse(pick).unwrap()), covered, "{pick}");
        }
    }

    #[test]
    fn a_signed_url_proves_its_query_and_a_sorted_form_no_single_field() {
        let template = Template::parse("{url}{form_sorted}").unwrap();
        for (pick, covered) in
            [("query:a", true), ("query:a > json:/b", true), ("form:a", false), ("json:/a", false)]
        {
            assert_eq!(template.covers(&Pick::parse(pick).unwrap()), covered, "{pick}");
        }
        assert!(template.covers_form() && template.covers_url() && !template.covers_body());
    }

    #[test]
    fn a_time_touches_what_no_other_sign_stands_between() {
        for (text, touches) in [
            ("{timestamp}{body}", true),
            ("{timestamp}0{body}", true),
            ("{header:x}{timestamp}.{body}", true),
            ("v1{timestamp}.{body}", true),
            ("v0:{timestamp}:{body}", false),
            ("{timestamp}.{header:x}{body}", false),
            ("{body}", false),
        ] {
            assert_eq!(Template::parse(text).unwrap().time_touches(), touches, "{text}");
        }
    }
}
