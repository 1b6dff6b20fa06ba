//! Every value in force, with where it was given: what an operator is shown of a configuration. No secret is in it: the
//! settings only refer to them, and what else may be one ([`HIDDEN`]) is not shown.

use serde_json::{Map, Value, json};

use super::load::Loaded;
use super::path::{KeyPath, Step};

/// A value in force.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// Its key, such as `ingress.listen`.
    pub key: String,
    /// As it would be written; `null` for what is not set and has no default.
    pub value: Value,
    /// The file and line, the variable or the flag that it was given in; `None` for a default.
    pub origin: Option<String>,
}

impl InForce {
    /// As data.
    pub fn into_json(self) -> Value {
        let Self { key, value, origin } = self;
        json!({ "key": key, "value": value, "origin": origin })
    }
}

impl Loaded {
    /// All values, in the order of their keys.
    ///
    /// # Errors
    /// Where a path is not UTF-8, which none from TOML is.
    pub fn in_force(&self) -> Result<Vec<InForce>, serde_json::Error> {
        let mut found = Vec::new();
        if let Value::Object(settings) = serde_json::to_value(&self.settings)? {
            self.gather(&KeyPath::default(), settings, &mut found);
        }
        Ok(found)
    }

    fn gather(&self, table: &KeyPath, entries: Map<String, Value>, found: &mut Vec<InForce>) {
        for (name, value) in entries {
            let key = table.key(&name);
            match value {
                // A reference to a secret is one value.
                Value::Object(below) if !key.is_secret() => self.gather(&key, below, found),
                value => {
                    let value = shown(&key, value);
                    let origins = &self.origins;
                    let origin = origins.is_set(&key).then(|| origins.place(&key).to_string());
                    found.push(InForce { key: key.to_string(), value, origin });
                }
            }
        }
    }
}

/// What stands in the place of a text that is not shown.
const HIDDEN: &str = "***";

/// A value as it is shown: what a provider's file asks of a source may be a secret, and the path of a URL that notices go to.
fn shown(key: &KeyPath, value: Value) -> Value {
    let is = |at: usize, name: &str| matches!(key.steps().get(at), Some(Step::Key(step)) if step == name);
    match value {
        Value::String(_) if is(0, "sources") && is(2, "settings") => HIDDEN.into(),
        Value::String(url) if is(0, "notices") && is(1, "url") => {
            let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
            if host.len() < url.len() { format!("{host}/{HIDDEN}").into() } else { url.into() }
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let of = |key: &str, value: &str| shown(&key.into(), value.into());
        assert_eq!(of("sources.ebay.settings.verification_token", "secret"), HIDDEN);
        assert_eq!(
            of("notices.url", "https://hooks.example.com/services/T0/x"),
            "https://hooks.example.com/***"
        );
        assert_eq!(of("notices.url", "https://hooks.example.com"), "https://hooks.example.com");
        assert_eq!(of("sources.settings.provider", "stripe"), "stripe");
        assert_eq!(shown(&"sources.a.settings.count".into(), 3.into()), 3);
    }
}
