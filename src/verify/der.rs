//! DER, as far as public keys need it: a strict walk over nested values, nothing copied, nothing guessed. Never
//! panics on any bytes, and knows no algorithm.

/// What is left of a sequence of DER values.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(&'a [u8]);

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// The first tag of a certificate's optional version.
pub(super) const CONTEXT_0: u8 = 0xa0;

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next value, of any tag.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        // A tag of several bytes stands in no key.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let len = digits.iter().fold(0_usize, |len, digit| len << 8 | usize::from(*digit));
                // Written as short as can be, or it is no DER.
                let short = len < 0x80 || digits.first() == Some(&0);
                (if short { return None } else { len }, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The next value, which must have that tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    /// The values inside the next one, a sequence.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.take(SEQUENCE).map(Self)
    }

    /// A positive whole number, without leading zeros.
    pub(super) fn positive(&mut self) -> Option<&'a [u8]> {
        match self.take(INTEGER)? {
            [0, rest @ ..] if rest.first().is_some_and(|first| first & 0x80 != 0) => Some(rest),
            value @ [1..=0x7f, ..] => Some(value),
            _ => None,
        }
    }

    /// The bytes of a bit string that has whole ones only.
    pub(super) fn bits(&mut self) -> Option<&'a [u8]> {
        self.take(BIT_STRING)?.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
    }

    /// Passes over the next value where it has that tag.
    pub(super) fn skip_optional(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) { self.any().map(|_| ()) } else { Some(()) }
    }

    /// Nothing where there is more.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_shortest_form_of_a_length_is_read() {
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(Der::new(&long).any().unwrap().1.len(), 128);
        for bad in [
            &[0x04, 0x81, 0x05, 1, 2, 3, 4, 5][..],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x05, 1],
            &[0x1f, 0x01, 0],
            &[0x04, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x04],
            &[],
        ] {
            assert!(Der::new(bad).any().is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_number_is_positive_and_has_no_zeros_before_it() {
        for (bytes, wanted) in [
            (&[2, 1, 5][..], Some(&[5][..])),
            (&[2, 2, 0, 0x80], Some(&[0x80])),
            (&[2, 2, 0, 5], None),
            (&[2, 1, 0x80], None),
            (&[2, 1, 0], None),
            (&[2, 0], None),
        ] {
            assert_eq!(Der::new(bytes).positive(), wanted, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut der = Der::new(&bytes);
            let mut seen = 0;
            while let Some((_, value)) = der.any() {
                seen += 2 + value.len();
            }
            prop_assert!(seen <= bytes.len());
        }
    }
}
