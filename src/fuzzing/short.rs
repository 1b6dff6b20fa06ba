//! Short texts that operators and senders write: a pointer to what is not shown, words that are searched for, an order
//! about dead letters, the context of a trace.

use serde_json::Value;

use super::bodies::line;
use crate::mask::{Mask, Pointer};
use crate::telemetry::trace::Context;

/// A text in the first line, and a body: the text points into the body, is searched for and is a `traceparent`; all of it
/// is an order.
pub fn short(data: &[u8]) {
    let (text, body) = line(data);
    masked(&text, body);
    traced(&text);
    crate::history::finds_what_has_the_words(&text);
    crate::admin::meant_or_told(data);
}

/// What is pointed at is hidden, and nothing else.
fn masked(text: &str, body: &[u8]) {
    let Ok(pointer) = text.parse::<Pointer>() else { return };
    assert_eq!(pointer.to_string(), text, "written as it is read");
    let steps: Vec<String> =
        text[1..].split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let shown = Mask::new(vec![pointer]).applied(body);
    let whole = serde_json::from_slice::<Value>(body).ok();
    assert_eq!(shown.is_some(), whole.is_some(), "shown where the places can be told, and only there");
    let (Some(shown), Some(whole)) = (shown, whole) else { return };
    // Written and read once too: a float's last digit is not kept by either.
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).expect("it was just written");
    let whole = serde_json::to_vec(&whole).expect("it is a tree");
    alike(&read(&whole), &read(&shown), Some(&steps));
}

/// Whether both are the same but for where `steps` lead.
fn alike(whole: &Value, shown: &Value, steps: Option<&[String]>) {
    let below = |leads: &dyn Fn(&str) -> bool| {
        let (step, rest) = steps?.split_first()?;
        (step == "*" || leads(step)).then_some(rest)
    };
    match (whole, shown) {
        _ if steps.is_some_and(<[_]>::is_empty) => assert_eq!(shown, "***"),
        (Value::Object(whole), Value::Object(shown)) => {
            assert_eq!(whole.len(), shown.len());
            whole.iter().for_each(|(name, member)| alike(member, &shown[name], below(&|step| step == name)));
        }
        (Value::Array(whole), Value::Array(shown)) => {
            assert_eq!(whole.len(), shown.len());
            for (at, (whole, shown)) in whole.iter().zip(shown).enumerate() {
                alike(whole, shown, below(&|step| step.parse() == Ok(at)));
            }
        }
        _ => assert_eq!(whole, shown),
    }
}

/// A place in a trace is written as it came, but for what later versions have.
fn traced(text: &str) {
    let Ok(context) = text.parse::<Context>() else { return };
    assert!(context.trace != 0 && context.span != 0);
    let written = context.to_string();
    assert_eq!(written.parse(), Ok(context));
    assert_eq!(text.get(2..53), written.get(2..53), "trace and span as they came");
    assert!(text.len() == written.len() || !text.starts_with("00"), "version 00 has no more");
    let flags = text.get(53..55).and_then(|flags| u8::from_str_radix(flags, 16).ok());
    assert_eq!(flags.map(|flags| flags % 2 == 1), Some(context.sampled));
}
