//! Where a provider's file looks for an event's id, its type and the elements of a batch: told of where nothing is there.

use crate::batch::{self, Cut, Unsplit};
use crate::dedup::key::EventKey;
use crate::extract::Pick;
use crate::provider::EventPlace;
use crate::verify::Verified;

/// Places of one id or type, as a sentence has them.
pub(super) fn spelled(places: &[EventPlace]) -> String {
    places.iter().map(EventPlace::to_string).collect::<Vec<_>>().join(", else ")
}

/// The keys of the provider's file that find nothing in a delivery signed here, each with its places. What its token
/// claims beside the body was made up with the signature and is no finding.
pub(super) fn missed(verified: &Verified) -> Vec<(&'static str, String)> {
    let (scheme, key) = (verified.scheme(), EventKey::derive("", verified));
    let id = ("event.id", scheme.event.ids(), key.event_id());
    let event_type = ("event.type", scheme.event.types(), key.event_type());
    let made_up = |place: &EventPlace| !scheme.token_is_body() && place.picks().any(Pick::is_claim);
    let names = [id, event_type]
        .into_iter()
        .filter(|(_, places, found)| found.is_empty() && !places.is_empty() && !places.iter().any(made_up));
    let lacks_array = batch::cut("", verified, &key, &[]) == Some(Cut::Whole(Unsplit::NoArray));
    let each = scheme.batch.as_ref().filter(|_| lacks_array).map(|rule| ("batch.each", rule.each.clone()));
    names.map(|(key, places, _)| (key, spelled(places))).chain(each).collect()
}
