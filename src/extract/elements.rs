//! The elements of a JSON array over raw bytes: where each lies, exactly as it is written there. One pass, no tree.
//!
//! Stands beside `json`, which finds single values; what an element means is the caller's matter.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{self, Pointer};

/// Why a text has no elements to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoElements {
    /// Not one valid JSON text, or no array at that place.
    #[error("there is no JSON array at that place")]
    NoArray,
    /// More than the caller takes.
    #[error("the array has more than {0} elements")]
    TooMany(usize),
}

/// Where the elements of the array at `pointer` (the whole text where `None`) lie in `text`, at most `max` of them.
///
/// # Errors
/// Where there is no such array, or it is longer.
pub fn elements(text: &[u8], pointer: Option<&Pointer>, max: usize) -> Result<Vec<Range<usize>>, NoElements> {
    let span = match pointer {
        None => 0..text.len(),
        Some(pointer) => {
            json::find(text, &[pointer]).pop().flatten().map(|found| found.span).ok_or(NoElements::NoArray)?
        }
    };
    let array = text.get(span).ok_or(NoElements::NoArray)?;
    let mut deserializer = serde_json::Deserializer::from_slice(array);
    let walk = Elements { base: text.as_ptr() as usize, max };
    let spans = deserializer.deserialize_seq(walk).map_err(|_| NoElements::NoArray)??;
    deserializer.end().map_err(|_| NoElements::NoArray)?;
    Ok(spans)
}

struct Elements {
    base: usize,
    max: usize,
}

impl<'a> Visitor<'a> for Elements {
    type Value = Result<Vec<Range<usize>>, NoElements>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        let mut spans = Vec::new();
        while let Some(raw) = seq.next_element::<&'a RawValue>()? {
            let start = (raw.get().as_ptr() as usize).saturating_sub(self.base);
            // One more than are taken is enough to see that they are too many.
            if spans.len() <= self.max {
                spans.push(start..start + raw.get().len());
            }
        }
        Ok(if spans.len() > self.max { Err(NoElements::TooMany(self.max)) } else { Ok(spans) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts<'t>(text: &'t str, pointer: &str) -> Result<Vec<&'t str>, NoElements> {
        let pointer = (!pointer.is_empty()).then(|| Pointer::parse(pointer).unwrap());
        let spans = elements(text.as_bytes(), pointer.as_ref(), 3)?;
        Ok(spans.into_iter().map(|span| &text[span]).collect())
    }

    #[test]
    fn elements_are_the_bytes_between_the_commas() {
        assert_eq!(texts(" [ {\"a\": 1 } ,\n\"é\",[ ]] ", "").unwrap(), ["{\"a\": 1 }", "\"é\"", "[ ]"]);
        assert_eq!(
            texts("{\"a\":[0],\"a\":{\"b\":[1 , 2.0]}}", "/a/b").unwrap(),
            ["1", "2.0"],
            "the last key"
        );
        assert_eq!(texts("[]", "").unwrap(), Vec::<&str>::new());
        assert_eq!(texts("[1,2,3]", "").unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_array_has_none() {
        for (text, pointer) in [
            ("{}", ""),
            ("", ""),
            ("[1", ""),
            ("[1] x", ""),
            ("{\"a\":{}}", "/a"),
            ("{}", "/a"),
            ("\u{feff}[1]", ""),
        ] {
            assert_eq!(texts(text, pointer), Err(NoElements::NoArray), "{text}");
        }
        assert_eq!(elements(b"[\"\xff\"]", None, 3), Err(NoElements::NoArray));
        assert_eq!(texts("[1,2,3,4]", ""), Err(NoElements::TooMany(3)));
        assert_eq!(texts("[1,2,3,4,5,6", ""), Err(NoElements::NoArray), "all of it is read");
    }

    proptest! {
        #[test]
        fn each_element_reads_as_it_did_inside(
            values in prop::collection::vec(prop_oneof![any::<i64>().prop_map(|n| n.to_string()), "\"[a-z,\\[ ]{0,8}\""], 0..3),
            blanks in "[ \n\t]{0,3}",
        ) {
            let text = format!("[{blanks}{}{blanks}]", values.join(&format!("{blanks},{blanks}")));
            prop_assert_eq!(texts(&text, "").unwrap(), values);
        }
    }
}
