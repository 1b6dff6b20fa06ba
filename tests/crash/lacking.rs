//! What this machine cannot lend to a run: such faults leave the plan, and the report says so.

use crate::machine::{SmallDisk, can_trace, faketime};
use crate::plan::{Fault, Plan};

/// Takes out of the plan what cannot happen here; why, in words.
pub fn take_out(plan: &mut Plan) -> Vec<String> {
    let mut lacking = Vec::new();
    if !can_trace() {
        lacking.push("failing system calls: strace is missing or may not trace (ptrace)".to_owned());
        let stages = plan.stages.iter_mut();
        stages.for_each(|stage| stage.kills.retain(|kill| kill.call.is_none()));
    }
    let place = tempfile::tempdir().unwrap();
    if let Err(error) = SmallDisk::mount(place.path().join("small"), 1 << 20) {
        lacking.push(format!("small disks: a tmpfs cannot be mounted, which takes root: {error}"));
        drop_steps(plan, |fault| *fault == Fault::Disk);
    }
    if faketime().is_none() {
        let how = "install it with: apt-get install libfaketime";
        lacking.push(format!("steps of the clock: libfaketime is missing; {how}"));
        drop_steps(plan, |fault| matches!(fault, Fault::Clock(_)));
    }
    lacking
}

fn drop_steps(plan: &mut Plan, which: fn(&Fault) -> bool) {
    plan.stages.iter_mut().for_each(|stage| stage.steps.retain(|step| !which(&step.fault)));
}
