//! Where an event's id and type are: places in order, the first that holds a value counts, and whether the
//! signature proves what it says.

use std::borrow::Cow;

use crate::delivery::Delivery;
use crate::extract::Pick;

/// A place of an id or a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// The place.
    pub pick: Pick,
    /// What it stands for where it holds a value; `None` for that value itself.
    pub text: Option<String>,
    /// Whether the signature covers it.
    pub signed: bool,
}

/// The places of a scheme's event id and type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPlaces {
    /// Those of the id, then those of the type.
    places: Vec<EventPlace>,
    /// How many are of the id.
    ids: usize,
}

/// An id and type as a delivery has them; empty where it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<'v> {
    /// The id.
    pub id: Cow<'v, str>,
    /// Whether the id is signed.
    pub id_signed: bool,
    /// The type.
    pub event_type: Cow<'v, str>,
}

impl EventPlaces {
    /// The places of an id, and those of a type.
    pub fn new(id: Vec<EventPlace>, event_type: Vec<EventPlace>) -> Self {
        let ids = id.len();
        Self { places: id.into_iter().chain(event_type).collect(), ids }
    }

    /// Those of the id.
    pub fn ids(&self) -> &[EventPlace] {
        self.places.get(..self.ids).unwrap_or_default()
    }

    /// Those of the type.
    pub fn types(&self) -> &[EventPlace] {
        self.places.get(self.ids..).unwrap_or_default()
    }

    /// Reads id and type, a JSON body walked only once; `claims` are those of the token that proved the delivery.
    pub fn read<'v>(&'v self, delivery: &'v Delivery, claims: Option<&'v [u8]>) -> Named<'v> {
        let mut values = Pick::read_all(self.places.iter().map(|place| &place.pick), delivery);
        for (value, place) in values.iter_mut().zip(&self.places).filter(|(_, place)| place.pick.is_claim()) {
            *value = claims.and_then(|claims| place.pick.read_claim(claims));
        }
        let mut values = values.into_iter();
        let mut first = |places: &'v [EventPlace]| {
            let mut found = None;
            for (place, value) in places.iter().zip(values.by_ref()) {
                if let Some(value) = value.filter(|value| found.is_none() && !value.is_empty()) {
                    found = Some((place.text.as_deref().map_or(value, Cow::Borrowed), place.signed));
                }
            }
            found.unwrap_or((Cow::Borrowed(""), false))
        };
        let (id, id_signed) = first(self.ids());
        let (event_type, _) = first(self.types());
        Named { id, id_signed, event_type }
    }
}
