//! Paths of the public listener: no two sources answer at one.

use std::collections::BTreeMap;

use super::assemble::Plan;
use crate::config::{KeyPath, Loaded, Report};

/// Reports each path of a handshake that another source answers at too, or that an event would come to.
pub(super) fn check(loaded: &Loaded, plans: &[Plan], report: &mut Report) {
    let own = |plan: &Plan| Some(loaded.settings.sources.get(&plan.name)?.path.as_str().to_owned());
    let events: BTreeMap<String, &str> =
        plans.iter().filter_map(|plan| Some((own(plan)?, plan.name.as_str()))).collect();
    let mut asked: BTreeMap<&str, &str> = BTreeMap::new();
    for plan in plans {
        for path in plan.verifier.scheme().handshakes.paths() {
            let other = asked.insert(path, &plan.name).filter(|other| *other != plan.name);
            if let Some(other) = other.or(events.get(path).copied()) {
                let found = format!("a handshake at {path:?}, where sources.{other} answers too");
                let allowed = "one source for each path of the listener";
                report.error(KeyPath::from("sources").key(&plan.name).key("provider"), found, allowed);
            }
        }
    }
}
