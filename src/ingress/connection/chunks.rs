//! The framing of a chunked body, by a strict reading of RFC 9112, 7.1: checked as it passes, never buffered.
//!
//! Refused beside what is malformed: trailers (nothing in them may count) and extensions of more than 256 bytes.

/// Digits of a chunk's size; more could only be zeros or more bytes than anybody has.
const DIGITS_MAX: u8 = 15;
/// Bytes of a chunk's extensions, which nobody needs and everybody must be able to skip.
const EXTENSION_BYTES_MAX: u16 = 256;

/// Where in a chunked body the next byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size { value: u64, digits: u8 },
    Extension { size: u64, length: u16 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataReturn,
    DataEnd,
    LastReturn,
    LastEnd,
    After,
}

/// A chunked body on its way through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    data: u64,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size { value: 0, digits: 0 }, data: 0 }
    }
}

impl Chunks {
    /// How many of `bytes` belong to the body; all of them, until it [is complete](Self::is_complete).
    ///
    /// # Errors
    /// What is wrong with the framing.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut passed = 0;
        while passed < bytes.len() && !self.is_complete() {
            if let At::Data { left } = self.at {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - passed);
                passed += here;
                let left = left - here as u64;
                self.data += here as u64;
                self.at = if left == 0 { At::DataReturn } else { At::Data { left } };
            } else {
                self.at = self.next(bytes[passed])?;
                passed += 1;
            }
        }
        Ok(passed)
    }

    /// Whether the last chunk has passed.
    pub fn is_complete(&self) -> bool {
        self.at == At::After
    }

    /// Bytes of the body that have passed, without their framing.
    pub fn data(&self) -> u64 {
        self.data
    }

    fn next(&self, byte: u8) -> Result<At, &'static str> {
        match (self.at, byte) {
            (At::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Ok(At::Size { value: value << 4 | digit, digits: digits + 1 })
            }
            (At::Size { value: size, digits: 1.. }, b'\r') => Ok(At::SizeEnd { size }),
            (At::Size { value: size, digits: 1.. }, b';') => Ok(At::Extension { size, length: 0 }),
            (At::Size { .. }, _) => Err("a chunk's size is not 1 to 15 hexadecimal digits"),
            (At::Extension { size, .. }, b'\r') => Ok(At::SizeEnd { size }),
            (At::Extension { size, length: length @ ..EXTENSION_BYTES_MAX }, b'\t' | b' '..=b'~') => {
                Ok(At::Extension { size, length: length + 1 })
            }
            (At::Extension { .. }, _) => Err("a chunk's extension is longer than 256 bytes or no text"),
            (At::SizeEnd { size: 0 }, b'\n') => Ok(At::LastReturn),
            (At::SizeEnd { size }, b'\n') => Ok(At::Data { left: size }),
            (At::DataReturn, b'\r') => Ok(At::DataEnd),
            (At::DataEnd, b'\n') => Ok(At::Size { value: 0, digits: 0 }),
            (At::LastReturn, b'\r') => Ok(At::LastEnd),
            (At::LastEnd, b'\n') => Ok(At::After),
            (At::LastReturn, _) => Err("the body has trailers"),
            _ => Err("a chunk does not end where its size says"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body's framed length, if it is well-formed and complete.
    fn length(bytes: &str) -> Result<Option<usize>, &'static str> {
        let mut whole = Chunks::default();
        let at_once = whole.pass(bytes.as_bytes())?;
        let mut single = Chunks::default();
        let mut one_by_one = 0;
        for byte in bytes.as_bytes() {
            one_by_one += single.pass(&[*byte])?;
        }
        assert_eq!((at_once, whole), (one_by_one, single), "however it is cut");
        Ok(whole.is_complete().then_some(at_once))
    }

    #[test]
    fn chunks_end_with_the_empty_one() {
        assert_eq!(length("0\r\n\r\n"), Ok(Some(5)));
        assert_eq!(length("3\r\nabc\r\n0\r\n\r\nGET /"), Ok(Some(13)));
        assert_eq!(length("00A;x=\"y z\"\r\n0123456789\r\n0;z\r\n\r\n"), Ok(Some(32)));
        assert_eq!(length("3\r\nab"), Ok(None));
        assert_eq!(length("0\r\n\r"), Ok(None));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let bodies = [
            "\r\n",
            "0x3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            "-3\r\nabc\r\n",
            " 3\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "3\nabc\r\n",
            "3\r\r\nabc\r\n",
            "3;a\nabc\r\n",
            "3;a\0\r\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "3\r\nabc0\r\n",
            "3\r\nabc\r\r\n",
            "0\r\nx: y\r\n\r\n",
            "0\r\n\n",
            "0\r\n\r\r",
            "0000000000000003\r\nabc\r\n",
            "fffffffffffffffff\r\n",
            ";\r\n",
            "g\r\n",
        ];
        for body in bodies {
            assert!(length(body).is_err(), "{body:?}");
        }
        assert!(length(&format!("3;{}\r\n", "x".repeat(256))).is_ok());
        assert!(length(&format!("3;{}\r\n", "x".repeat(257))).is_err());
    }
}
