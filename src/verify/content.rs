//! The signed bytes: a template's pieces fed one after the other, the body never copied.

use crate::delivery::Delivery;
use crate::provider::{Piece, Template};
use crate::reject::{Refused, Reject};

/// Feeds the signed bytes to `take`, in order. `time` is the time's text exactly as received.
///
/// # Errors
/// `CompanionMissing` where a signed value is not in the delivery.
pub(super) fn feed(
    template: &Template,
    delivery: &Delivery,
    time: Option<&str>,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), Refused> {
    for piece in &template.pieces {
        match piece {
            Piece::Literal(text) => take(text.as_bytes()),
            Piece::Body => take(&delivery.body),
            Piece::Method => take(delivery.method.as_bytes()),
            Piece::Timestamp => take(time.ok_or(Reject::TimestampMissing)?.as_bytes()),
            Piece::Value(pick) => {
                let value = pick.read(delivery);
                let missing =
                    || Reject::CompanionMissing.because(format!("{pick}, which is signed, is missing"));
                take(value.ok_or_else(missing)?.as_bytes());
            }
        }
    }
    Ok(())
}
