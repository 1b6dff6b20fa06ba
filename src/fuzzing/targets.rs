//! The targets by name: the list that fuzzing, its corpora and their replay share.

use super::{bodies, edges, files, long, places, short, signatures, tokens};

/// Holds the properties of one parser over any bytes; panics where one is broken.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in `tests/fuzz/corpus/`.
pub const TARGETS: [(&str, Target); 23] = [
    ("admin", edges::admin),
    ("base64", places::base64),
    ("config", edges::config),
    ("definition", files::definition),
    ("document", files::document),
    ("form", bodies::form),
    ("grammar", signatures::grammar),
    ("json", bodies::json),
    ("key", files::key),
    ("long", long::long),
    ("multipart", bodies::multipart),
    ("payload", edges::payload),
    ("place", places::place),
    ("record", edges::record),
    ("request", edges::request),
    ("short", short::short),
    ("spelling", bodies::spelling),
    ("template", places::template),
    ("time", places::time),
    ("token", tokens::token),
    ("url", places::url),
    ("verify", signatures::verify),
    ("xml", bodies::xml),
];
