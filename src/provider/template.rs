//! Templates of signed bytes: `{timestamp}.{body}` as a list of pieces.

use std::fmt;

use super::body_form::BodyForm;
use super::origin::UrlPort;
use crate::extract::Pick;

/// One piece of the signed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Fixed text.
    Literal(String),
    /// The secret's key bytes, under a plain digest or an HMAC.
    Secret,
    /// The time's text exactly as received.
    Timestamp,
    /// The body's bytes.
    Body,
    /// The body in another form.
    BodyAs(BodyForm),
    /// The request's method in upper case.
    Method,
    /// The same in lower case.
    MethodLower,
    /// The request's path as received.
    Path,
    /// The request's path and query as received.
    Target,
    /// The public URL, then path and query exactly as received.
    Url(UrlPort),
    /// The same with some percent-escapes of path and query decoded.
    UrlUnescaped,
    /// Every field of the urlencoded body, sorted, name and value one after the other.
    FormSorted,
    /// The same with equal pairs as often as they stand there.
    FormSortedAll,
    /// The headers that the header of this name lists, as `name:value`.
    SignedHeaders(String),
    /// A value of the delivery; without it there is nothing that could have been signed.
    Value(Pick),
    /// The JSON text of a value, as it stands there.
    Raw(Pick),
    /// A value in lower case.
    Lower(Pick),
    /// A value where there is one.
    Optional {
        /// Its place.
        pick: Pick,
        /// Whether in lower case.
        lower: bool,
    },
    /// The pieces from here to [`Self::End`] count where the place holds a value.
    If(Pick),
    /// The end of such.
    End,
}

impl Piece {
    /// The place whose value it needs.
    pub(super) fn pick(&self) -> Option<&Pick> {
        match self {
            Self::Value(pick)
            | Self::Raw(pick)
            | Self::Lower(pick)
            | Self::Optional { pick, .. }
            | Self::If(pick) => Some(pick),
            _ => None,
        }
    }
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
                    balanced(after).ok_or_else(|| format!("`{text}` has a `{{` without its `}}`"))?;
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
        conditions(&pieces, text)?;
        Ok(Self { pieces })
    }

    /// The same where `time` is the place of the signed time: written by its place, it is the time all the same, with
    /// all that holds for one.
    pub(super) fn dated(mut self, time: &Pick) -> Self {
        for piece in &mut self.pieces {
            match piece {
                Piece::Value(pick) | Piece::Optional { pick, lower: false } if pick == time => {
                    *piece = Piece::Timestamp
                }
                _ => {}
            }
        }
        self
    }

    /// `text` so that it stands for itself in a template.
    pub fn escape(text: &str) -> String {
        text.replace('{', "{{").replace('}', "}}")
    }

    /// Whether the secret is among what is hashed.
    pub fn holds_secret(&self) -> bool {
        self.pieces.contains(&Piece::Secret)
    }

    /// The same whatever the delivery has or lacks.
    pub(super) fn always_holds_secret(&self) -> bool {
        self.always().any(|piece| *piece == Piece::Secret)
    }

    /// Whether the value at `pick` stands by itself among what is signed.
    pub(super) fn states(&self, pick: &Pick) -> bool {
        self.place_of(pick).is_some()
    }

    /// JSON values that are signed as they stand in the delivery.
    pub(super) fn raw_values(&self) -> impl Iterator<Item = &Pick> {
        self.always().filter_map(|piece| match piece {
            Piece::Raw(pick) if pick.is_of_delivery() => Some(pick),
            _ => None,
        })
    }

    /// Whether it has no other value of a delivery in it than such, its time and its URL.
    pub(super) fn has_raw_alone(&self) -> bool {
        let beside = |piece: &Piece| {
            let said = matches!(piece, Piece::Literal(_) | Piece::Secret | Piece::Timestamp);
            said || matches!(piece, Piece::Method | Piece::MethodLower | Piece::Path) || is_target(piece)
        };
        self.pieces.iter().all(|piece| matches!(piece, Piece::Raw(_)) || beside(piece))
    }

    /// Whether anything can be added at the end without knowing the secret, under a digest whose state is its output.
    pub fn ends_open(&self) -> bool {
        let last = self.pieces.iter().rev().find(|piece| !matches!(piece, Piece::Literal(_)));
        self.holds_secret() && last != Some(&Piece::Secret)
    }

    /// The pieces that are signed whatever the delivery has or lacks.
    pub(super) fn always(&self) -> impl Iterator<Item = &Piece> {
        self.with_conditions().filter(|(condition, _)| condition.is_none()).map(|(_, piece)| piece)
    }

    /// Every piece, with the place that must hold a value for it to be signed.
    fn with_conditions(&self) -> impl Iterator<Item = (Option<&Pick>, &Piece)> {
        let mut condition = None;
        self.pieces.iter().map(move |piece| {
            match piece {
                Piece::If(pick) => condition = Some(pick),
                Piece::End => condition = None,
                _ => {}
            }
            (condition, piece)
        })
    }

    /// Every place whose value the pieces need.
    pub fn picks(&self) -> impl Iterator<Item = &Pick> {
        self.pieces.iter().filter_map(Piece::pick)
    }

    /// Whether the body's bytes are signed, as they are or so that another body would be signed otherwise.
    pub fn covers_body(&self) -> bool {
        self.always().any(|piece| match piece {
            Piece::Body => true,
            Piece::BodyAs(form) => form.binds_bytes(),
            _ => false,
        })
    }

    /// Whether all values of a JSON body are signed, if not how they are spelled.
    ///
    /// `\u00e9` for `é` and blanks between values may differ under one signature. What differs inside a string or
    /// in the order of values is signed otherwise.
    pub fn covers_json(&self) -> bool {
        let spelled = |piece: &Piece| matches!(piece, Piece::BodyAs(form) if form.respelled().is_some());
        self.covers_body() || self.always().any(spelled)
    }

    /// Whether all fields of the form are signed. That proves them together only: `a=bc` and `ab=c` read alike.
    pub fn covers_form(&self) -> bool {
        self.always().any(|piece| matches!(piece, Piece::FormSorted | Piece::FormSortedAll))
    }

    /// Whether the URL is signed, path and query included.
    pub fn covers_url(&self) -> bool {
        self.always().any(|piece| matches!(piece, Piece::Url(_) | Piece::UrlUnescaped))
    }

    /// Whether path and query are signed, with the URL before them or alone.
    pub fn covers_target(&self) -> bool {
        self.covers_url() || self.always().any(|piece| *piece == Piece::Target)
    }

    /// Whether the public URL must be known.
    pub fn needs_url(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Url(_) | Piece::UrlUnescaped))
    }

    /// Whether the time is signed wherever there is one.
    pub fn covers_time(&self) -> bool {
        self.always().any(|piece| *piece == Piece::Timestamp)
    }

    /// Whether the header `name` is signed because the list of signed headers must name it.
    pub fn lists_header(&self) -> bool {
        self.always().any(|piece| matches!(piece, Piece::SignedHeaders(_)))
    }

    /// Whether anything of a delivery is signed.
    pub(super) fn covers_something(&self) -> bool {
        self.pieces.iter().any(|piece| !matches!(piece, Piece::Literal(_) | Piece::Secret | Piece::End))
    }

    /// Two values with nothing between them, so that text can be moved from one to the other and the signed bytes stay
    /// the same.
    pub(super) fn neighbours(&self) -> Option<(&Pick, &Pick)> {
        let value =
            |piece: &'_ Piece| matches!(piece, Piece::Value(_) | Piece::Lower(_) | Piece::Optional { .. });
        self.pieces.windows(2).find_map(|pair| match pair {
            [one, next] if value(one) && value(next) => Some((one.pick()?, next.pick()?)),
            _ => None,
        })
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

    /// Whether the value at `pick` is signed: by itself, or as a part of the body or the URL. One in lower case is
    /// not: another spelling would be signed the same.
    pub fn covers(&self, pick: &Pick) -> bool {
        self.place_of(pick).is_some()
            || self.is_part(pick)
            || self.always().any(|piece| matches!(piece, Piece::Raw(whole) if pick.is_below(whole)))
            || pick.outer().is_some_and(|outer| self.covers(outer))
    }

    /// Whether it is signed as a part of the body or the URL.
    fn is_part(&self, pick: &Pick) -> bool {
        match pick.root() {
            Pick::Json(_) => self.covers_json(),
            Pick::Form(_) | Pick::Xml(_) | Pick::Body => self.covers_body(),
            Pick::Query(_) => self.covers_target(),
            _ => false,
        }
    }

    /// Whether it is signed as a part of the body, all of which is.
    pub fn contains(&self, pick: &Pick) -> bool {
        pick.is_in_body() && self.is_part(pick)
    }

    /// Where the value at `pick` stands by itself: a value that is there is always signed there.
    fn place_of(&self, pick: &Pick) -> Option<usize> {
        let own = |(condition, piece): (Option<&Pick>, &Piece)| {
            let itself = match piece {
                Piece::Value(value) | Piece::Optional { pick: value, lower: false } => value == pick,
                _ => false,
            };
            itself && condition.is_none_or(|place| place == pick)
        };
        self.with_conditions().position(own)
    }

    /// Whether the signature proves which value stands at `pick`.
    ///
    /// Whoever has one signed request may divide its text otherwise: of `{header:a}{header:b}` the end of `a` may
    /// go to `b`, of `{header:a}.{header:b}` too where a value has a `.` in it, and a piece that need not be there
    /// can hide in the value beside it. So a value that stands by itself is proved only where nothing but fixed
    /// text, time and method stands on one side of it, and no sign of an id (`is_plain`) is what parts it from
    /// its neighbours; whether the value itself has only such signs is seen when it is read. What lies in the body
    /// needs none of this: the rest of a JSON text is none.
    pub fn proves(&self, pick: &Pick) -> bool {
        if self.contains(pick) {
            return true;
        }
        let whole = |(condition, piece): (Option<&Pick>, &Piece)| {
            condition.is_none() && matches!(piece, Piece::Raw(whole) if pick.is_below(whole))
        };
        if let Some(at) = self.with_conditions().position(whole) {
            return self.is_delimited(at);
        }
        match (self.place_of(pick), pick.outer()) {
            (Some(at), _) => self.is_delimited(at),
            // Text that was moved to the end of `outer` could be what is cut out.
            (None, Some(_)) if matches!(pick, Pick::Match(..)) => false,
            (None, Some(outer)) => self.proves(outer),
            (None, None) if matches!(pick, Pick::Query(_)) => {
                self.pieces.iter().position(is_target).is_some_and(|at| self.is_delimited(at))
            }
            (None, None) => false,
        }
    }

    fn is_delimited(&self, at: usize) -> bool {
        let (before, after) = self.pieces.split_at(at);
        let Some((own, after)) = after.split_first() else { return false };
        // Nobody else can say where the secret ends or begins.
        let fixed = |piece: &Piece| {
            let said = matches!(piece, Piece::Literal(_) | Piece::Timestamp | Piece::Secret);
            said || matches!(piece, Piece::Method | Piece::MethodLower)
        };
        let anchored = before.iter().all(fixed) || after.iter().all(fixed);
        let left = match before.last() {
            Some(Piece::Literal(text)) => !text.ends_with(is_plain),
            Some(Piece::Secret) | None => true,
            Some(_) => false,
        };
        let right = match after.first() {
            // A URL may have any sign in it but blanks.
            Some(Piece::Literal(text)) if is_target(own) => text.starts_with(char::is_whitespace),
            Some(Piece::Literal(text)) => !text.starts_with(is_plain),
            Some(Piece::Secret) | None => true,
            Some(_) => false,
        };
        let left = left || is_target(own) && matches!(own, Piece::Url(_) | Piece::UrlUnescaped);
        anchored && left && right
    }
}

/// Whether ids usually are of such signs: ASCII letters and digits, `_` and `-`. None of them parts one signed value
/// from the next.
pub fn is_plain(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_' || sign == '-'
}

fn is_target(piece: &Piece) -> bool {
    matches!(piece, Piece::Url(_) | Piece::UrlUnescaped | Piece::Target)
}

/// What stands before the `}` that ends a piece, and after it; an expression in it may have braces of its own.
fn balanced(text: &str) -> Option<(&str, &str)> {
    let mut open = 0_usize;
    for (at, sign) in text.char_indices() {
        match sign {
            '{' => open += 1,
            '}' if open == 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// Every condition ends, and none stands inside another.
fn conditions(pieces: &[Piece], text: &str) -> Result<(), String> {
    let mut open = false;
    for piece in pieces {
        match piece {
            Piece::If(_) if open => return Err(format!("`{text}` has an `{{if …}}` inside another")),
            Piece::If(_) => open = true,
            Piece::End if !open => return Err(format!("`{text}` has an `{{end}}` without its `{{if …}}`")),
            Piece::End => open = false,
            _ => {}
        }
    }
    if open { Err(format!("`{text}` has an `{{if …}}` without its `{{end}}`")) } else { Ok(()) }
}

const PIECES: [(&str, Piece); 13] = [
    ("timestamp", Piece::Timestamp),
    ("body", Piece::Body),
    ("secret", Piece::Secret),
    ("method", Piece::Method),
    ("lower method", Piece::MethodLower),
    ("path", Piece::Path),
    ("target", Piece::Target),
    ("url", Piece::Url(UrlPort::Configured)),
    ("url:no_port", Piece::Url(UrlPort::Left)),
    ("url:std_port", Piece::Url(UrlPort::Named)),
    ("url:unescaped", Piece::UrlUnescaped),
    ("form_sorted", Piece::FormSorted),
    ("form_sorted:all", Piece::FormSortedAll),
];

fn piece(name: &str) -> Result<Piece, String> {
    if let Some((_, piece)) = PIECES.iter().find(|(known, _)| *known == name) {
        return Ok(piece.clone());
    }
    if let Some(form) = name.strip_prefix("body:").and_then(BodyForm::parse) {
        return Ok(Piece::BodyAs(form));
    }
    let place = |text: &str| {
        let of_a_path = |place: &str| ["json", "xml", "item", "jwt"].contains(&place);
        Pick::parse(text).map_err(|why| {
            if text.contains(" > ") || text.split_once(':').is_some_and(|(place, _)| of_a_path(place)) {
                return why;
            }
            let names: Vec<String> = PIECES.iter().map(|(known, _)| format!("{{{known}}}")).collect();
            format!(
                "`{{{name}}}` is no piece; allowed: {}, {}, {{signed_headers:header:NAME}}, a place such as \
                 {{header:NAME}}, {{raw json:/pointer}}, {{lower PLACE}}, {{optional PLACE}}, {{optional lower PLACE}}, {{if PLACE}} … {{end}}",
                names.join(", "),
                BodyForm::ALLOWED
            )
        })
    };
    if name == "end" {
        return Ok(Piece::End);
    }
    if let Some(list) = name.strip_prefix("signed_headers:") {
        return match place(list)? {
            Pick::Header(name) => Ok(Piece::SignedHeaders(name)),
            _ => Err(format!("`{{{name}}}` is no piece; allowed: {{signed_headers:header:NAME}}")),
        };
    }
    if let Some(raw) = name.strip_prefix("raw ") {
        let pick = place(raw)?;
        return match pick.is_json() {
            true => Ok(Piece::Raw(pick)),
            false => Err(format!(
                "`{{{name}}}` is no piece; allowed: {{raw json:/pointer}}, {{raw PLACE > json:/pointer}}"
            )),
        };
    }
    if let Some(rest) = name.strip_prefix("optional ") {
        let lower = rest.strip_prefix("lower ");
        return Ok(Piece::Optional { pick: place(lower.unwrap_or(rest))?, lower: lower.is_some() });
    }
    match (name.strip_prefix("lower "), name.strip_prefix("if ")) {
        (Some(rest), _) => place(rest).map(Piece::Lower),
        (_, Some(rest)) => place(rest).map(Piece::If),
        _ => place(name).map(Piece::Value),
    }
}

/// As a provider file writes it.
impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(&Template::escape(text)),
            Self::SignedHeaders(name) => write!(f, "{{signed_headers:header:{name}}}"),
            Self::Value(pick) => write!(f, "{{{pick}}}"),
            Self::Raw(pick) => write!(f, "{{raw {pick}}}"),
            Self::Lower(pick) => write!(f, "{{lower {pick}}}"),
            Self::Optional { pick, lower: true } => write!(f, "{{optional lower {pick}}}"),
            Self::Optional { pick, lower: false } => write!(f, "{{optional {pick}}}"),
            Self::If(pick) => write!(f, "{{if {pick}}}"),
            Self::End => f.write_str("{end}"),
            Self::BodyAs(form) => write!(f, "{{body:{form}}}"),
            named => {
                let name = PIECES.iter().find(|(_, piece)| piece == named).map(|(name, _)| *name);
                write!(f, "{{{}}}", name.unwrap_or_default())
            }
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| piece.fmt(f))
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
            "{url:unescaped}{path}{target}{body:base64}{body:crc32}{body:ascii}{body:compact}{form_sorted:all}",
            "{body:sha256}{body:sha512:raw}{body:compact:sha256:base64}",
            "{raw json:/a}{raw form:p > json:/b}{body:sorted}{body:base64url}{lower method}",
            "{header:x > match:a{2}(b{1,3})}{body}",
            "{signed_headers:header:x-list}{optional item:/a}{lower query:a.b}{optional lower body}{if xml:/a/@b}x{end}",
            "",
        ] {
            assert_eq!(Template::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bad_template_says_what_is_allowed() {
        for (text, part) in [
            ("{bdy}", "`{bdy}` is no piece"),
            ("{json:a.b}", "it begins with `/`"),
            ("{lower xml:a/b}", "it is written `/a/b/c`"),
            ("{body", "without its"),
            ("a}", "without its"),
            ("{if body}", "without its"),
            ("{end}", "without its"),
            ("{if body}{if body}{end}{end}", "inside another"),
            ("{signed_headers:query:a}", "signed_headers:header:NAME"),
            ("{lower }", "is no piece"),
            ("{raw header:a}", "{raw json:/pointer}"),
            ("{header:a > match:(a)(b)}", "has 2 groups"),
            ("{header:a > match:([0-9]{4}}", "is no regular expression"),
            ("{header:a > match:([0-9]{4)}", "without its"),
        ] {
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

    fn proves(text: &str, pick: &str) -> bool {
        Template::parse(text).unwrap().proves(&Pick::parse(pick).unwrap())
    }

    #[test]
    fn what_may_be_absent_or_spelled_otherwise_is_not_covered() {
        let covers =
            |text: &str, pick: &str| Template::parse(text).unwrap().covers(&Pick::parse(pick).unwrap());
        for (text, pick, covered) in [
            ("{body:base64}", "xml:/a", true),
            ("{body:crc32}", "json:/a", false),
            ("{body:ascii}", "json:/a", true),
            ("{body:compact}", "json:/a > base64", true),
            ("{body:compact}", "form:a", false),
            ("{if header:x}{body}{end}", "json:/a", false),
            ("{if header:x}{header:y}{end}", "header:y", false),
            ("{if header:x}a:{header:x};{end}", "header:x", true),
            ("{optional header:x}", "header:x", true),
            ("{lower header:x}", "header:x", false),
            ("{optional lower header:x}", "header:x", false),
            ("{signed_headers:header:list}", "header:x", false),
            ("{item:/id}", "item:/id", true),
            ("{item:/id}", "item:/other", false),
            ("{target}", "query:a", true),
            ("{path}", "query:a", false),
            ("{form:p}", "form:p > json:/id", true),
            ("{form_sorted:all}", "form:p", false),
            ("{body:sorted}", "json:/a/b", true),
            ("{body:base64url}", "form:a", true),
            ("{raw json:/a}", "json:/a/b", true),
            ("{raw json:/a}", "json:/ab", false),
            ("{raw json:/a/b}", "json:/a", false),
            ("{raw form:p > json:/a}", "form:p > json:/a/0", true),
        ] {
            assert_eq!(covers(text, pick), covered, "{text} {pick}");
        }
        let crc = Template::parse("{header:id}|{timestamp}|{body:crc32}").unwrap();
        assert!(!crc.covers_body() && !crc.covers_json(), "a CRC-32 is made to order");
    }

    /// The text that one signed request has can be divided between its places otherwise.
    #[test]
    fn a_value_is_proved_only_where_nothing_of_it_can_be_moved_to_its_neighbours() {
        for (text, pick, proved) in [
            ("{header:id}.{timestamp}.{body}", "header:id", true),
            ("{header:id}{timestamp}{body}", "header:id", false),
            ("{header:id}-{timestamp}.{body}", "header:id", false),
            ("v0{header:id}.{body}", "header:id", false),
            ("v0:{header:id}.{body}", "header:id", true),
            ("{header:a}.{header:id}.{body}", "header:id", false),
            ("{header:a}.{header:id}", "header:id", true),
            ("{body}.{header:id}.{timestamp}", "header:id", true),
            ("{if header:id}id:{header:id};{end}ts:{timestamp};", "header:id", false),
            ("{header:a}{body}", "json:/id", true),
            ("{method} {target}\n{body}", "query:id", true),
            ("{url}", "query:id", true),
            ("{raw json:/data}", "json:/data/id", true),
            ("{header:a}{raw json:/data}", "json:/data/id", false),
            ("{raw json:/data}", "json:/id", false),
            ("{header:a}|{header:id}{secret}", "header:id", true),
            ("{secret}{header:id}.{body}", "header:id", true),
            ("{header:a}{secret}{header:id}", "header:a", true),
            ("{header:a}{header:id}{secret}", "header:id", false),
            ("{url}{body}", "query:id", false),
            ("{url}.{body}", "query:id", false),
            ("{header:id}\n{body}", "header:id > base64", true),
            ("{header:id}\n{body}", "header:id > match:(.*)", false),
            ("{header:id > match:(.*)}\n{body}", "header:id > match:(.*)", true),
            ("{header:id}\n{body}", "json:/id > match:(.*)", true),
        ] {
            assert_eq!(proves(text, pick), proved, "{text} {pick}");
        }
    }
}
