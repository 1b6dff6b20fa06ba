//! The signed bytes: a template's pieces fed one after the other, the body never copied.

use crate::delivery::Delivery;
use crate::extract;
use crate::provider::{Piece, Scheme, Template};
use crate::reject::{Refused, Reject};

/// What the templates of a scheme are filled from, for one delivery.
pub(super) struct Content<'c> {
    scheme: &'c Scheme,
    delivery: &'c Delivery,
    /// The time's text exactly as received.
    time: Option<&'c str>,
    /// The sorted form, made once for all templates and keys.
    form: Option<String>,
}

impl<'c> Content<'c> {
    /// Of `delivery`, with the `time` that it has.
    ///
    /// # Errors
    /// `FormMalformed` where a form is signed and the body is none.
    pub(super) fn new(
        scheme: &'c Scheme,
        delivery: &'c Delivery,
        time: Option<&'c str>,
    ) -> Result<Self, Refused> {
        let malformed =
            || Reject::FormMalformed.because("the body is no form of UTF-8 text that could be signed");
        let form = if scheme.signed.iter().any(Template::covers_form) {
            Some(extract::form_sorted(&delivery.body).ok_or_else(malformed)?)
        } else {
            None
        };
        Ok(Self { scheme, delivery, time, form })
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
        for piece in &template.pieces {
            match piece {
                Piece::Literal(text) => take(text.as_bytes()),
                Piece::Secret => take(secret),
                Piece::Body => take(&self.delivery.body),
                Piece::Method => take(self.delivery.method.as_bytes()),
                Piece::Timestamp => take(self.time.ok_or(Reject::TimestampMissing)?.as_bytes()),
                Piece::FormSorted => take(self.form.as_deref().unwrap_or_default().as_bytes()),
                Piece::Url(port) => {
                    let unknown =
                        || Reject::CompanionMissing.because("the URL is signed, and no public URL is known");
                    take(self.scheme.origin.as_ref().ok_or_else(unknown)?.text(*port).as_bytes());
                    take(self.delivery.target.as_bytes());
                }
                Piece::Value(pick) => {
                    let value = pick.read(self.delivery);
                    let missing =
                        || Reject::CompanionMissing.because(format!("{pick}, which is signed, is missing"));
                    take(value.ok_or_else(missing)?.as_bytes());
                }
            }
        }
        Ok(())
    }

    /// The signed bytes in one piece, for signatures that are not made piece by piece.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub(super) fn whole(&self, template: &Template) -> Result<Vec<u8>, Refused> {
        let mut whole = Vec::with_capacity(self.delivery.body.len() + 128);
        self.feed(template, &mut |bytes| whole.extend_from_slice(bytes))?;
        Ok(whole)
    }
}
