//! A form encoded again: the same fields, with blanks and reserved characters written in other ways.

/// A way to write forms: its name, what a blank becomes, what else stays as it is, and whether escapes are in lower case.
struct Style {
    name: &'static str,
    blank: &'static str,
    kept: &'static [u8],
    lower: bool,
}

const STYLES: [Style; 7] = [
    Style { name: "with `+` for a blank", blank: "+", kept: b"-_.*", lower: false },
    Style { name: "with `%20` for a blank", blank: "%20", kept: b"-_.~", lower: false },
    Style { name: "with `+` for a blank and `~` as it is", blank: "+", kept: b"-_.~", lower: false },
    Style {
        name: "with `%20` for a blank, as browsers' scripts write it",
        blank: "%20",
        kept: b"-_.!~*'()",
        lower: false,
    },
    Style { name: "with `+` for a blank and escapes in lower case", blank: "+", kept: b"-_.*", lower: true },
    Style {
        name: "with `%20` for a blank and escapes in lower case",
        blank: "%20",
        kept: b"-_.~",
        lower: true,
    },
    Style { name: "with `+` for a blank, and `*` escaped", blank: "+", kept: b"-_.", lower: false },
];

/// Every way to write the form that `body` is, with what must have happened to it; nothing where it is none.
pub(super) fn encodings(body: &[u8]) -> impl Iterator<Item = (String, String)> {
    let is_form = body.contains(&b'=')
        && body.iter().all(|byte| (b'!'..=b'~').contains(byte))
        && !body.starts_with(b"{");
    let fields: Vec<(String, String)> = match is_form {
        true => form_urlencoded::parse(body)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect(),
        false => Vec::new(),
    };
    let mut sorted = fields.clone();
    sorted.sort();
    let orders = [("", fields), (", its fields sorted", sorted)];
    orders.into_iter().filter(|(_, fields)| !fields.is_empty()).flat_map(|(order, fields)| {
        STYLES.iter().map(move |style| {
            let what = format!("as a form, {}{order}: something decoded it and encoded it again", style.name);
            (what, style.write(&fields))
        })
    })
}

impl Style {
    fn write(&self, fields: &[(String, String)]) -> String {
        let pairs =
            fields.iter().map(|(name, value)| format!("{}={}", self.escaped(name), self.escaped(value)));
        pairs.collect::<Vec<_>>().join("&")
    }

    fn escaped(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for byte in text.bytes() {
            match byte {
                b' ' => out.push_str(self.blank),
                _ if byte.is_ascii_alphanumeric() || self.kept.contains(&byte) => out.push(char::from(byte)),
                _ if self.lower => out.push_str(&format!("%{byte:02x}")),
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forms_are_written_again() {
        assert_eq!(encodings(b"{\"a\":\"=\"}").count() + encodings(b"plain").count(), 0);
        let all: Vec<String> = encodings(b"b=x+y%2F~&a=%2A").map(|(_, form)| form).collect();
        for form in ["b=x+y%2F%7E&a=*", "b=x%20y%2F~&a=%2A", "b=x+y%2f%7e&a=*", "a=*&b=x+y%2F%7E"] {
            assert!(all.iter().any(|one| one == form), "{form} in {all:?}");
        }
    }
}
