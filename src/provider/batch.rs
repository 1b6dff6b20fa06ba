//! Batch: where a provider puts several events in one request, and where each of them has its id and type.
//!
//! A rule in checked form and the reading of one element's names. Cuts no body and makes no key: that is `crate::batch`.

use std::borrow::Cow;

use super::build::Check;
use super::definition::{BatchDefinition, Places};
use crate::delivery::Delivery;
use crate::extract::{self, Pick, Pointer};

/// Where the events of a request are, and what names each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where the array is, as the file spells it.
    pub each: String,
    /// The form's field whose text holds the array; `None` where the body itself does.
    pub field: Option<String>,
    /// Where the array is in that JSON; `None` where it is all of it.
    pub pointer: Option<Pointer>,
    ids: Vec<ItemPlace>,
    types: Vec<ItemPlace>,
    pointers: Vec<Pointer>,
    /// Whether no two elements have one id.
    pub unique: bool,
}

/// A place of an element's id or type, perhaps put together of several.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ItemPlace {
    pieces: Vec<Piece>,
    /// What it stands for where all its places hold a value; `None` for that text itself.
    text: Option<String>,
    signed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// All of the element.
    Element,
    /// A value in the element: the number of its pointer.
    Item(usize),
    /// A value of the whole delivery.
    Place(Pick),
}

/// What an element calls itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemNames {
    /// Its id as people see it; empty where it has none.
    pub id: String,
    /// The values that its id is made of, each a part of its key.
    pub id_values: Vec<String>,
    /// Whether the signature covers all of these.
    pub id_signed: bool,
    /// Its type; empty where it has none.
    pub event_type: String,
}

/// How the rules of one element's places are read.
struct Reader<'c> {
    check: &'c mut Check,
    covered: &'c dyn Fn(&Pick) -> bool,
    /// Whether the elements are signed.
    signed: bool,
    pointers: Vec<Pointer>,
}

impl Batch {
    /// Whether any place tells a type.
    pub fn tells_types(&self) -> bool {
        !self.types.is_empty()
    }

    /// The names of one element of a delivery, its JSON walked once.
    pub fn names(&self, delivery: &Delivery, element: &[u8]) -> ItemNames {
        let pointers: Vec<&Pointer> = self.pointers.iter().collect();
        let values: Vec<Option<Cow<'_, str>>> = match pointers.is_empty() {
            true => Vec::new(),
            false => extract::find(element, &pointers).into_iter().map(|found| found?.text()).collect(),
        };
        let first = |places: &[ItemPlace]| {
            places.iter().find_map(|place| Some((place.read(delivery, element, &values)?, place.signed)))
        };
        let ((id, id_values), id_signed) = first(&self.ids).unwrap_or_default();
        let ((event_type, _), _) = first(&self.types).unwrap_or_default();
        ItemNames { id, id_values, id_signed, event_type }
    }
}

impl ItemPlace {
    /// Its text and the values in it, where every place of it holds one.
    fn read(
        &self,
        delivery: &Delivery,
        element: &[u8],
        found: &[Option<Cow<'_, str>>],
    ) -> Option<(String, Vec<String>)> {
        let (mut text, mut values) = (String::new(), Vec::new());
        for piece in &self.pieces {
            let value = match piece {
                Piece::Literal(literal) => {
                    text.push_str(literal);
                    continue;
                }
                Piece::Element => scalar(element)?,
                Piece::Item(at) => found.get(*at)?.clone()?,
                Piece::Place(pick) => pick.read(delivery)?,
            };
            if value.is_empty() {
                return None;
            }
            text.push_str(&value);
            values.push(value.into_owned());
        }
        Some((self.text.clone().unwrap_or(text), values))
    }
}

/// The text of an element that is a string, number or boolean.
fn scalar(element: &[u8]) -> Option<Cow<'_, str>> {
    match element.first()? {
        b'{' | b'[' | b'n' => None,
        b'"' => serde_json::from_slice::<String>(element).ok().map(Cow::Owned),
        _ => std::str::from_utf8(element).ok().map(Cow::Borrowed),
    }
}

impl Check {
    /// The rule of a batch; `covered` tells what the signature covers.
    pub(super) fn batch(&mut self, raw: &BatchDefinition, covered: &dyn Fn(&Pick) -> bool) -> Option<Batch> {
        let (field, pointer) = match array(&raw.each) {
            Ok(place) => place,
            Err(allowed) => {
                self.add("batch.each", &format!("{:?}", raw.each), &allowed);
                return None;
            }
        };
        // The root of a JSON body is proved as any value in it is.
        let signed = match (&field, Pointer::parse("/")) {
            (Some(field), _) => covered(&Pick::Form(field.clone())),
            (None, Ok(any)) => covered(&Pick::Json(any)),
            (None, Err(_)) => false,
        };
        let mut reader = Reader { check: self, covered, signed, pointers: Vec::new() };
        let ids = reader.places("batch.id", &raw.id);
        let types = reader.places("batch.type", &raw.event_type);
        let pointers = reader.pointers;
        if ids.iter().skip_while(|place| place.signed).any(|place| place.signed) {
            self.add("batch.id", "a signed place after one that is not", "signed places first");
        }
        let (each, unique) = (raw.each.clone(), raw.unique);
        Some(Batch { each, field, pointer, ids, types, pointers, unique })
    }
}

impl Reader<'_> {
    fn places(&mut self, key: &str, places: &Places) -> Vec<ItemPlace> {
        places.0.iter().filter_map(|place| self.place(key, &place.when, place.text.clone())).collect()
    }

    fn place(&mut self, key: &str, when: &str, text: Option<String>) -> Option<ItemPlace> {
        let pieces =
            if when.contains('{') { self.pieces(when) } else { self.piece(when).map(|piece| vec![piece]) };
        let pieces = pieces.map_err(|allowed| self.check.add(key, &format!("{when:?}"), &allowed)).ok()?;
        let signed = pieces.iter().all(|piece| match piece {
            Piece::Literal(_) => true,
            Piece::Element | Piece::Item(_) => self.signed,
            Piece::Place(pick) => (self.covered)(pick),
        });
        Some(ItemPlace { pieces, text, signed })
    }

    /// The pieces of `{PLACE}:{PLACE}`.
    fn pieces(&mut self, mut text: &str) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        while let Some((literal, rest)) = text.split_once('{') {
            let Some((place, rest)) = rest.split_once('}') else { break };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            pieces.push(self.piece(place)?);
            text = rest;
        }
        if text.contains(['{', '}']) {
            return Err("each place in braces of its own, as in \"{item:/a}:{item:/b}\"".to_owned());
        }
        if !text.is_empty() {
            pieces.push(Piece::Literal(text.to_owned()));
        }
        Ok(pieces)
    }

    fn piece(&mut self, place: &str) -> Result<Piece, String> {
        match place.strip_prefix("item:") {
            Some("") => Ok(Piece::Element),
            Some(inside) if inside.contains(" > ") => {
                Err("item:/pointer alone: nothing is looked up in the text of an element's value".to_owned())
            }
            Some(pointer) => {
                self.pointers.push(Pointer::parse(pointer)?);
                Ok(Piece::Item(self.pointers.len() - 1))
            }
            None => match Pick::parse(place) {
                Ok(pick) if pick.is_of_delivery() => Ok(Piece::Place(pick)),
                Ok(_) => Err("item:/pointer within an element, or a place of the delivery itself".to_owned()),
                Err(allowed) => {
                    Err(format!("item:/pointer within an element, or a place of the delivery: {allowed}"))
                }
            },
        }
    }
}

/// The form's field and the pointer in `json:/a`, `json:`, `form:NAME > json:/a` or `form:NAME > json:`.
fn array(each: &str) -> Result<(Option<String>, Option<Pointer>), String> {
    let allowed = || "json:/pointer, json: (the whole body), or form:NAME > json:/pointer".to_owned();
    let (field, json) = match each.split_once(" > ") {
        Some((form, json)) => (Some(form.strip_prefix("form:").ok_or_else(allowed)?), json),
        None => (None, each),
    };
    if field == Some("") {
        return Err(allowed());
    }
    let pointer = match json.strip_prefix("json:").ok_or_else(allowed)? {
        "" => None,
        pointer => Some(Pointer::parse(pointer)?),
    };
    Ok((field.map(str::to_owned), pointer))
}
