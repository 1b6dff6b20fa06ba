//! What the types of values that read themselves take, as JSON Schemas.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::config::{Callers, Network, PublicUrl, RoutePath, Setting, SilentAfter, Success};
use crate::mask::Pointer;
use crate::units::{ByteSize, Rate, Span};

macro_rules! described {
    ($($type:ty, $schema:tt;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
            fn inline_schema() -> bool {
                true
            }
        }
    )*};
}

/// Each unit once, the largest first.
const SPAN: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
/// An address, and of a network the length of its prefix.
const NETWORK: &str = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$";

described! {
    ByteSize, {"title": "size", "type": ["string", "integer"], "pattern": "^[0-9]+(TiB|GiB|MiB|KiB|TB|GB|MB|kB|KB|B)$", "minimum": 0, "examples": ["64KiB", "1MiB"]};
    Span, {"title": "duration", "type": "string", "pattern": SPAN, "minLength": 2, "examples": ["10s", "1h30m", "7d"]};
    Rate, {"title": "rate", "type": "string", "pattern": "^[0-9]*[1-9][0-9]*/[smhd]$", "examples": ["500/s"]};
    SilentAfter, {"title": "duration, `\"usual\"` or `\"never\"`", "anyOf": [{"enum": ["usual", "never"]}, {"type": "string", "pattern": SPAN, "minLength": 2}]};
    Network, {"title": "network", "type": "string", "pattern": NETWORK, "examples": ["10.0.0.0/8", "fd00::/8"]};
    PublicUrl, {"title": "URL", "type": "string", "pattern": "^https?://[^/?#@ ]+(/[^?#@ ]*)?$", "examples": ["https://hooks.example.com"]};
    RoutePath, {"title": "path of a URL", "type": "string", "pattern": "^(/[A-Za-z0-9._~!$'()*,;:@+=&-]+)+$", "examples": ["/in/orders"]};
    Pointer, {"title": "JSON pointer", "type": "string", "pattern": "^/", "examples": ["/customer/email", "/items/*/card"]};
    Success, {"title": "number from 200 to 299", "type": "integer", "minimum": 200, "maximum": 299};
    Setting, {"title": "text, number, `true` or `false`", "type": ["string", "number", "boolean"]};
    Callers, {"title": "list of networks, or `{ file = \"…\" }`", "anyOf": [
        {"type": "array", "items": {"type": "string", "pattern": NETWORK}},
        {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"], "additionalProperties": false},
    ]};
}
