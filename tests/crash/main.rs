//! The crash harness: a sender with a ledger, a drain, faults between them, and a checker that compares.
//!
//! It drives the real binary from outside, with a RabbitMQ and a Redis of its own. All that happens is planned from
//! one seed. `run` beside this file builds and starts it; the last line says what was found, and so does the exit
//! code: 0 nothing, 1 a broken promise, 2 wrong usage.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be set up ends the run")]
#![expect(clippy::disallowed_methods, reason = "the harness measures real time")]

use std::process::ExitCode;

// Fixtures of the integration tests, of which only some parts are needed here.
#[path = "../it/chaos.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod chaos;
#[path = "../it/gateway.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod gateway;
#[path = "../it/handed.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod handed;
#[path = "../it/http.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod http;
#[path = "../it/load.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod load;
#[path = "../it/machine.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod machine;
#[path = "../it/scrape.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod scrape;
#[path = "../it/senders.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod senders;
#[path = "../it/services.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod services;

mod calls;
mod check;
mod drain;
mod events;
mod fault;
mod lacking;
mod ledger;
mod options;
mod plan;
mod random;
mod reaper;
mod report;
mod selftest;
mod sender;
mod stage;
mod tally;
mod topology;
mod watch;
mod workers;

use options::Command;

fn main() -> ExitCode {
    match options::read(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            print!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Command::SelfTest) => selftest::run(),
        Ok(Command::Run(options)) => run(&options),
        Err(wrong) => {
            eprintln!("crash: {wrong}; --help shows what there is");
            ExitCode::from(2)
        }
    }
}

/// The whole run: services, stage after stage, the report.
fn run(options: &options::Options) -> ExitCode {
    let mut plan = plan::Plan::new(options);
    if let Some(stage) = options.stage.filter(|stage| *stage as usize >= plan.stages.len()) {
        eprintln!("crash: there is no stage {stage}; --stage is 0 to {}", plan.stages.len() - 1);
        return ExitCode::from(2);
    }
    let not_run = lacking::take_out(&mut plan);
    println!("seed {}: {}", plan.seed, plan.summary());
    let mut total = stage::run_all(&plan, options);
    total.not_run = not_run;
    let text = report::text(&plan, options, &total);
    print!("{text}");
    if let Some(path) = &options.report {
        report::write(path, &plan, options, &total);
    }
    let verdict = if total.violations.is_empty() { "nothing lost" } else { "PROMISES BROKEN" };
    println!("seed {}: {verdict}", plan.seed);
    if total.violations.is_empty() && report::missed(&plan, options, &total).is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
