//! Where an event's id and type are: places in order, the first that holds a value counts, and whether the
//! signature proves what it says.

use std::borrow::Cow;
use std::fmt;

use super::template::is_plain;
use crate::delivery::Delivery;
use crate::extract::{Pick, Scene};

/// A place of an id or a type, or several that are one together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// The place; of several the first.
    pub pick: Pick,
    /// The other places of a composite.
    pub more: Vec<Pick>,
    /// What a composite's text is made of; empty for a value alone.
    pub parts: Vec<NamePart>,
    /// What it stands for where it holds a value; `None` for that value itself.
    pub text: Option<String>,
    /// Whether the signature covers it.
    pub signed: bool,
    /// Whether the signature proves only a value of the signs that ids have: any other could be divided otherwise.
    pub plain: bool,
}

/// Whether text names places within braces, and is no place itself.
pub(super) fn is_composite(text: &str) -> bool {
    text.contains('{') && !text.starts_with("json:")
}

/// A part of a composite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePart {
    /// Fixed text.
    Literal(String),
    /// The value at the place of that number.
    Value(usize),
}

/// As a provider file writes it.
impl fmt::Display for EventPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return write!(f, "{text:?} where there is {}", self.pick);
        }
        if self.parts.is_empty() {
            return self.pick.fmt(f);
        }
        for part in &self.parts {
            match part {
                NamePart::Literal(text) => f.write_str(text)?,
                NamePart::Value(number) => {
                    self.picks().nth(*number).map_or(Ok(()), |pick| write!(f, "{{{pick}}}"))?;
                }
            }
        }
        Ok(())
    }
}

impl EventPlace {
    /// Every place, in order.
    pub fn picks(&self) -> impl Iterator<Item = &Pick> + Clone {
        std::iter::once(&self.pick).chain(&self.more)
    }

    /// Its name, where all its places hold values.
    fn name<'v>(&'v self, values: Vec<Option<Cow<'v, str>>>) -> Option<Name<'v>> {
        let values: Vec<Cow<'v, str>> =
            values.into_iter().map(|value| value.filter(|value| !value.is_empty())).collect::<Option<_>>()?;
        let signed = self.signed && (!self.plain || values.iter().all(|value| value.chars().all(is_plain)));
        if let Some(text) = &self.text {
            return Some(Name { text: Cow::Borrowed(text), parts: Vec::new(), signed });
        }
        if self.parts.is_empty() {
            return values.into_iter().next().map(|text| Name { text, parts: Vec::new(), signed });
        }
        let text = self.parts.iter().map(|part| match part {
            NamePart::Literal(text) => text.as_str(),
            NamePart::Value(number) => values.get(*number).map_or("", |value| &**value),
        });
        Some(Name { text: Cow::Owned(text.collect()), parts: values, signed })
    }
}

/// What a place says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name<'v> {
    /// Its text; empty where there is none.
    pub text: Cow<'v, str>,
    /// The values that a composite is made of; empty for a value alone.
    pub parts: Vec<Cow<'v, str>>,
    /// Whether the signature proves it.
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
    /// The values that a composite id is made of, which tell it from others; empty for a value alone.
    pub id_parts: Vec<Cow<'v, str>>,
    /// Whether the id is signed.
    pub id_signed: bool,
    /// Where it was found.
    pub id_place: Option<&'v EventPlace>,
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
        self.read_in(&Scene { claims, ..Scene::of(delivery) })
    }

    /// The same with what stands beside the delivery.
    pub fn read_in<'v>(&'v self, scene: &Scene<'v>) -> Named<'v> {
        let picks = self.places.iter().flat_map(EventPlace::picks);
        let mut values = Pick::read_all(picks, scene).into_iter();
        let mut first = |places: &'v [EventPlace]| {
            let mut found: Option<(Name<'v>, &'v EventPlace)> = None;
            for place in places {
                let values = values.by_ref().take(1 + place.more.len()).collect();
                if found.is_none() {
                    found = place.name(values).map(|name| (name, place));
                }
            }
            found.map_or_else(|| (Name::default(), None), |(name, place)| (name, Some(place)))
        };
        let (id, id_place) = first(self.ids());
        let event_type = first(self.types()).0.text;
        Named { id: id.text, id_parts: id.parts, id_signed: id.signed, id_place, event_type }
    }
}
