//! Whether what a vector wants extracted is in its request at all. Some recorded vectors name the id or type of the
//! event that their request was made from, and their body is another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::delivery::Delivery;

/// Shorter runs of letters and digits are found anywhere.
const WORD_MIN: usize = 3;

/// Whether a word of `text` stands nowhere in the request: its target, its headers, its body, or the parts of a token
/// in these.
pub(super) fn is_absent(text: &str, delivery: &Delivery) -> bool {
    let mut places = vec![delivery.target.to_lowercase()];
    let headers = delivery.headers.iter().map(|(_, value)| value);
    for bytes in headers.chain([&delivery.body[..]]) {
        let written = String::from_utf8_lossy(bytes);
        let token = written.split(['.', ' ', '\n']).filter_map(|part| URL_SAFE_NO_PAD.decode(part).ok());
        places.extend(token.map(|part| String::from_utf8_lossy(&part).to_lowercase()));
        let form = form_urlencoded::parse(bytes).map(|(_, value)| value.to_lowercase());
        places.extend(form);
        places.push(written.to_lowercase());
    }
    let text = text.to_lowercase();
    let mut words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() >= WORD_MIN);
    words.any(|word| !places.iter().any(|place| place.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::delivery::Headers;

    #[test]
    fn a_word_is_looked_for_in_every_spelling_of_a_request() {
        let mut headers = Headers::default();
        headers.push("x-token", format!("a.{}.b", URL_SAFE_NO_PAD.encode("{\"jti\":\"evt-77\"}")).as_bytes());
        let body = "payload=%7B%22type%22%3A%22push%22%7D&id=42_abc".into();
        let (method, target) = ("POST".to_owned(), "/in/x?topic=orders".to_owned());
        let delivery = Delivery { method, target, headers, body, received_at: Timestamp::from_seconds(1) };
        for there in ["evt-77", "Push", "orders", "42_abc", "push.42", "a1"] {
            assert!(!is_absent(there, &delivery), "{there}");
        }
        for absent in ["TRANSACTIONS.INITIAL_UPDATE", "push.unknown"] {
            assert!(is_absent(absent, &delivery), "{absent}");
        }
    }
}
