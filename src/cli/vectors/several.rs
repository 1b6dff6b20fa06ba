//! Requests with a signature that could stand or be made otherwise: by another choice of the grammar, beside one of an
//! older secret, at another place, in a slot.

use std::time::Duration;

use super::case::{Case, slug};
use super::draft::{Draft, NOW};
use super::edit;
use super::keys::Pair;
use crate::cli::stop::Stop;
use crate::delivery::Delivery;
use crate::extract::{Pick, put, take_out};
use crate::provider::{Grammar, Scheme};
use crate::sample::tamper;

/// How much older than the right one a signature of another secret is.
const OLDER: Duration = Duration::from_secs(1);

/// What the scheme allows, and what it must still refuse.
///
/// # Errors
/// Where nobody can sign for this scheme here.
pub(super) fn cases(draft: &Draft<'_>) -> Result<Vec<Case>, Stop> {
    let places = tamper::signature_places(&draft.scheme);
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let signed = draft.signed(NOW)?;
    let several = Several { draft, places: &places, first, signed };
    let mut cases = several.choices();
    cases.extend(several.beside()?);
    match (places.len() > 1, draft.scheme.signature.slots) {
        (false, _) => {}
        (true, true) => cases.extend(several.slots()?),
        (true, false) => cases.extend(several.elsewhere()?),
    }
    Ok(cases)
}

struct Several<'d, 's> {
    draft: &'d Draft<'s>,
    places: &'d [Pick],
    first: &'d Pick,
    signed: Delivery,
}

impl Several<'_, '_> {
    /// One of each further choice, and what passes for one.
    fn choices(&self) -> Vec<Case> {
        let (scheme, held) = (&self.draft.scheme, self.draft.held());
        let mut cases = Vec::new();
        for (prefix, algorithm) in &scheme.signature.choices {
            let name = slug(prefix);
            if *algorithm == scheme.algorithm {
                let unknown =
                    |text: &str| text.strip_prefix(prefix.as_str()).map(|rest| format!("made={rest}"));
                let delivery = edit::at(&self.signed, self.first, &unknown);
                let why = "the prefix of the signature is not on the list";
                cases.extend(delivery.map(|own| Case::refused("unknown-choice", why, held.clone(), own)));
                continue;
            }
            let other = Scheme { algorithm: *algorithm, ..scheme.clone() };
            if let Ok(delivery) = self.draft.signed_by(&other, &self.draft.secret, NOW) {
                cases.push(Case::accepted(format!("accepted-as-{name}"), held.clone(), delivery));
            }
            let ours = scheme.signature.choices.iter().find(|(_, known)| *known == scheme.algorithm);
            let passed_off = ours.and_then(|(own, _)| {
                edit::at(&self.signed, self.first, &|text| {
                    Some(format!("{prefix}{}", text.strip_prefix(own)?))
                })
            });
            let why = "the prefix says another algorithm than the one that signed";
            let case = |own| Case::refused(format!("passed-off-as-{name}"), why, held.clone(), own);
            cases.extend(passed_off.map(case));
        }
        cases
    }

    /// A signature of another secret before the right one, in the same value.
    fn beside(&self) -> Result<Vec<Case>, Stop> {
        let (scheme, held) = (&self.draft.scheme, self.draft.held());
        if scheme.each.is_some() {
            return Ok(Vec::new());
        }
        let mut cases = Vec::new();
        let other = |at| self.draft.signed_by(scheme, &self.draft.other, at);
        // Whether each signature has a time of its own.
        let timed = match &scheme.signature.grammar {
            Grammar::Sets { .. } => true,
            Grammar::Plain { .. }
            | Grammar::Pairs(_)
            | Grammar::Positional { .. }
            | Grammar::Pattern { .. }
            | Grammar::Choices { .. }
            | Grammar::Versions { .. } => false,
        };
        let at = if timed { NOW.minus(OLDER) } else { NOW };
        if let Some(both) = self.joined(&other(at)?, &self.signed) {
            cases.push(Case::accepted("accepted-after-another-signature", held.clone(), both));
        }
        let past = scheme.timestamp.as_ref().and_then(|rule| rule.past);
        if let Some(past) = past.filter(|_| timed) {
            let stale = self.draft.signed(NOW.minus(past + Duration::from_secs(1)))?;
            let why = "the right set is too old, and the fresh one is of another secret";
            let both = self.joined(&stale, &other(NOW)?);
            cases.extend(both.map(|both| Case::refused("stale-set-beside-a-fresh-one", why, held, both)));
        }
        Ok(cases)
    }

    /// `later` with the signature of `earlier` before its own; `None` where the grammar reads one alone.
    fn joined(&self, earlier: &Delivery, later: &Delivery) -> Option<Delivery> {
        let (old, new) = (self.first.read(earlier)?, self.first.read(later)?);
        let value = match &self.draft.scheme.signature.grammar {
            Grammar::Sets { separator, .. } | Grammar::Versions { separator, .. } => {
                format!("{old}{separator}{new}")
            }
            // What stands before the last item is the same in both.
            Grammar::Positional { separator, .. } => format!("{old}{separator}{}", last(&new, separator)),
            Grammar::Pairs(form) if !form.first => {
                format!("{old}{}{}", form.separator, last(&new, &form.separator))
            }
            Grammar::Plain { .. } | Grammar::Pairs(_) | Grammar::Pattern { .. } | Grammar::Choices { .. } => {
                return None;
            }
        };
        put(later, self.first, &value)
    }

    /// The signature at each further place: beside one of another secret where the places are numbered, else alone.
    fn elsewhere(&self) -> Result<Vec<Case>, Stop> {
        let (scheme, held) = (&self.draft.scheme, self.draft.held());
        let Some(text) = self.first.read(&self.signed) else { return Ok(Vec::new()) };
        let moved = |from: Delivery, place: &Pick| put(&from, place, &text);
        let Some(second) = self.places.get(1) else { return Ok(Vec::new()) };
        if scheme.signature.numbered {
            let other = self.draft.signed_by(scheme, &self.draft.other, NOW)?;
            let gap = take_out(&self.signed, self.first).and_then(|unsigned| moved(unsigned, second));
            let right = moved(other, second);
            let why = "there is no first signature, so that no second one counts";
            let right = right.map(|own| Case::accepted("accepted-at-the-second-place", held.clone(), own));
            let gap = gap.map(|own| Case::refused("signature-after-a-gap", why, held, own));
            return Ok(right.into_iter().chain(gap).collect());
        }
        let alone = |place: &Pick| {
            let delivery = moved(take_out(&self.signed, self.first)?, place)?;
            Some(Case::accepted(format!("accepted-at-{}", slug(&place.to_string())), held.clone(), delivery))
        };
        Ok(self.places.iter().skip(1).filter_map(alone).collect())
    }

    /// Each place with the secret of its own, and with that of the place before it.
    fn slots(&self) -> Result<Vec<Case>, Stop> {
        let mut cases = Vec::new();
        let secrets = |slot: u8| -> Result<Pair, Stop> {
            let pair = Pair::of(&self.draft.scheme, &format!("slot-{slot}"))?;
            Ok(pair.named(self.draft.secret.id.as_deref()).in_slot(slot))
        };
        let pairs: Vec<Pair> =
            (0_u8..).zip(self.places).map(|(slot, _)| secrets(slot)).collect::<Result<_, _>>()?;
        for (slot, pair) in pairs.iter().enumerate() {
            let signed = self.draft.signed_by(&self.draft.scheme, pair, NOW)?;
            cases.push(Case::accepted(format!("accepted-in-slot-{slot}"), pairs.clone(), signed));
            let next = u8::try_from((slot + 1) % pairs.len()).unwrap_or_default();
            let strange = self.draft.signed_by(&self.draft.scheme, &pair.clone().in_slot(next), NOW)?;
            let why = "the signature is right and stands where another secret's must";
            cases.push(Case::refused(format!("slot-{slot}-elsewhere"), why, pairs.clone(), strange));
        }
        Ok(cases)
    }
}

/// The last item of a list.
fn last<'t>(text: &'t str, separator: &str) -> &'t str {
    text.rsplit(separator).next().unwrap_or(text)
}
