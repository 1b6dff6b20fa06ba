//! The signed bytes: a template's pieces fed one after the other, the body never copied where it is signed as it is.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::algorithm::Output;
use crate::extract::{self, FormText, Pick, Scene};
use crate::provider::{BodyForm, DigestText, Piece, Scheme, Template, TimeSource};
use crate::reject::{Refused, Reject};

/// Headers that a list of signed headers may name.
const SIGNED_HEADERS_MAX: usize = 64;

/// What the templates of a scheme are filled from, for one delivery.
pub(super) struct Content<'c> {
    scheme: &'c Scheme,
    scene: Scene<'c>,
    /// The time's text exactly as received.
    time: Option<&'c str>,
    /// The values of all templates, in the order of [`Scheme::values`], read once for all templates and keys.
    values: Vec<Option<Cow<'c, str>>>,
    /// The sorted forms and other spellings of the body, made once likewise. `None` where the body has none.
    made: Vec<(Piece, Option<Vec<u8>>)>,
}

impl<'c> Content<'c> {
    /// Of `scene`, with the `time` that it has.
    ///
    /// # Errors
    /// `FormMalformed` where a form is signed by every template and the body is none.
    pub(super) fn new(scheme: &'c Scheme, scene: Scene<'c>, time: Option<&'c str>) -> Result<Self, Refused> {
        let values = match scheme.values.as_slice() {
            [] => Vec::new(),
            values => Pick::read_all(values.iter(), &scene),
        };
        let mut content = Self { scheme, scene, time, values, made: Vec::new() };
        for piece in scheme.signed.iter().flat_map(|template| &template.pieces) {
            if is_made(piece) && !content.made.iter().any(|(known, _)| known == piece) {
                content.made.push((piece.clone(), make(piece, scheme, &scene)));
            }
        }
        let unmade = |template: &Template| template.pieces.iter().any(|piece| content.unmade(piece));
        if !content.made.is_empty() && scheme.signed.iter().all(unmade) {
            return Err(malformed());
        }
        Ok(content)
    }

    fn unmade(&self, piece: &Piece) -> bool {
        self.made.iter().any(|(known, made)| known == piece && made.is_none())
    }

    /// Feeds the signed bytes to `take`, in order.
    ///
    /// # Errors
    /// `CompanionMissing` where a signed value is not in the delivery.
    pub(super) fn feed(&self, template: &Template, take: &mut dyn FnMut(&[u8])) -> Result<(), Refused> {
        self.feed_with(template, &[], take)
    }

    /// The same with the bytes that stand for `{secret}`.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub(super) fn feed_with(
        &self,
        template: &Template,
        secret: &[u8],
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Refused> {
        let mut left_out = false;
        for piece in &template.pieces {
            match piece {
                Piece::If(pick) => left_out = self.optional(pick)?.is_empty(),
                Piece::End => left_out = false,
                _ if left_out => {}
                Piece::Secret => take(secret),
                piece => self.feed_piece(piece, take)?,
            }
        }
        Ok(())
    }

    fn feed_piece(&self, piece: &Piece, take: &mut dyn FnMut(&[u8])) -> Result<(), Refused> {
        let delivery = self.scene.delivery;
        match piece {
            Piece::Literal(text) => take(text.as_bytes()),
            Piece::Body => take(&delivery.body),
            Piece::Method => take(delivery.method.as_bytes()),
            Piece::MethodLower => take(delivery.method.to_ascii_lowercase().as_bytes()),
            Piece::Timestamp => take(self.time.ok_or(Reject::TimestampMissing)?.as_bytes()),
            Piece::FormSorted | Piece::FormSortedAll | Piece::BodyAs(_) => {
                let made = self.made.iter().find(|(known, _)| known == piece);
                take(made.and_then(|(_, made)| made.as_deref()).ok_or_else(malformed)?);
            }
            Piece::Path => take(delivery.path().as_bytes()),
            Piece::Target => take(delivery.target.as_bytes()),
            Piece::Url(port) => {
                take(self.scheme.origin.as_ref().ok_or_else(nowhere)?.text(*port).as_bytes());
                take(delivery.target.as_bytes());
            }
            Piece::UrlUnescaped => {
                let origin = self.scheme.origin.as_ref().ok_or_else(nowhere)?;
                take(origin.text(crate::provider::UrlPort::Configured).as_bytes());
                take(extract::unescaped(&delivery.target).as_bytes());
            }
            Piece::SignedHeaders(name) => self.signed_headers(name, take)?,
            Piece::Value(pick) => take(self.needed(pick)?.as_bytes()),
            Piece::Raw(pick) => take(pick.json(&self.scene).ok_or_else(|| unfound(pick))?.as_bytes()),
            Piece::Lower(pick) => take(self.needed(pick)?.to_lowercase().as_bytes()),
            Piece::Optional { pick, lower: false } => take(self.optional(pick)?.as_bytes()),
            Piece::Optional { pick, lower: true } => take(self.optional(pick)?.to_lowercase().as_bytes()),
            Piece::If(_) | Piece::End | Piece::Secret => {}
        }
        Ok(())
    }

    /// The value at a place of the templates.
    fn value(&self, pick: &Pick) -> Option<&str> {
        let at = self.scheme.values.iter().position(|known| known == pick)?;
        self.values.get(at)?.as_deref()
    }

    /// The same where there need be none: empty only where nothing is there that anybody could read.
    fn optional(&self, pick: &Pick) -> Result<&str, Refused> {
        match self.value(pick) {
            None if pick.is_there(&self.scene) => Err(unfound(pick)),
            value => Ok(value.unwrap_or_default()),
        }
    }

    fn needed(&self, pick: &Pick) -> Result<&str, Refused> {
        self.value(pick).ok_or_else(|| unfound(pick))
    }

    /// The headers that the list in header `list` names, sorted by name. What the list leaves out is not signed, so
    /// itself and the time must be in it.
    fn signed_headers(&self, list: &str, take: &mut dyn FnMut(&[u8])) -> Result<(), Refused> {
        let delivery = self.scene.delivery;
        let header = |name: &str| {
            let missing =
                || Reject::CompanionMissing.because(format!("header:{name}, which is signed, is missing"));
            Pick::Header(name.to_owned()).read(delivery).ok_or_else(missing)
        };
        let listed = header(list)?;
        let mut names: Vec<String> = listed
            .split(',')
            .take(SIGNED_HEADERS_MAX + 1)
            .map(|name| name.trim().to_ascii_lowercase())
            .collect();
        names.sort_unstable();
        let repeated = names.windows(2).any(|pair| pair[0] == pair[1]);
        let token = |name: &String| Pick::parse(&format!("header:{name}")).is_ok();
        if names.len() > SIGNED_HEADERS_MAX || repeated || !names.iter().all(token) {
            return Err(Reject::CompanionWrong.because(format!("header:{list} is no list of header names")));
        }
        let time = self.scheme.timestamp.as_ref().and_then(|rule| match &rule.from {
            TimeSource::Place(Pick::Header(name)) => Some(name.as_str()),
            _ => None,
        });
        if let Some(absent) =
            [Some(list), time].into_iter().flatten().find(|name| !names.iter().any(|n| n == name))
        {
            let detail = format!("header:{list} does not name {absent}, which must be signed");
            return Err(Reject::CompanionWrong.because(detail));
        }
        for (at, name) in names.iter().enumerate() {
            take(if at == 0 { b"" } else { b";" });
            take(name.as_bytes());
            take(b":");
            take(header(name)?.as_bytes());
        }
        Ok(())
    }

    /// The signed bytes in one piece, for signatures that are not made piece by piece.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub(super) fn whole(&self, template: &Template) -> Result<Vec<u8>, Refused> {
        let mut whole = Vec::with_capacity(self.scene.delivery.body.len() + 128);
        self.feed(template, &mut |bytes| whole.extend_from_slice(bytes))?;
        Ok(whole)
    }
}

fn unfound(pick: &Pick) -> Refused {
    Reject::CompanionMissing.because(format!("{pick}, which is signed, is missing, no text, or stands twice"))
}

fn malformed() -> Refused {
    Reject::FormMalformed.because("the body is no form or JSON of UTF-8 text that could be signed")
}

fn nowhere() -> Refused {
    Reject::CompanionMissing.because("the URL is signed, and no public URL is known")
}

fn is_made(piece: &Piece) -> bool {
    matches!(piece, Piece::FormSorted | Piece::FormSortedAll | Piece::BodyAs(_))
}

fn make(piece: &Piece, scheme: &Scheme, scene: &Scene<'_>) -> Option<Vec<u8>> {
    let form =
        |repeats| FormText { repeats, ..scheme.form_text.clone() }.of(scene.delivery).map(String::into_bytes);
    match piece {
        Piece::FormSorted => form(false),
        Piece::FormSortedAll => form(true),
        Piece::BodyAs(form) => written(*form, &scene.delivery.body),
        _ => None,
    }
}

/// The body in another form; none where it has none.
fn written(form: BodyForm, body: &[u8]) -> Option<Vec<u8>> {
    Some(match form {
        BodyForm::Base64 => STANDARD.encode(body).into_bytes(),
        BodyForm::Base64Url => URL_SAFE_NO_PAD.encode(body).into_bytes(),
        BodyForm::Crc32 => extract::crc32(body).to_string().into_bytes(),
        BodyForm::Spelled(spelling) => spelling.of(body)?.into_owned(),
        BodyForm::Digest { digest, text, of } => {
            let of = of.map_or(Some(Cow::Borrowed(body)), |spelling| spelling.of(body))?;
            let digest = Output::of_digest(digest, &of);
            match text {
                DigestText::Hex => hex::encode(digest.as_bytes()).into_bytes(),
                DigestText::Base64 => STANDARD.encode(digest.as_bytes()).into_bytes(),
                DigestText::Base64Url => URL_SAFE_NO_PAD.encode(digest.as_bytes()).into_bytes(),
                DigestText::Raw => digest.as_bytes().to_vec(),
            }
        }
    })
}
