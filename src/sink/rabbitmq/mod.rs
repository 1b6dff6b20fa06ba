//! RabbitMQ: the only folder that knows lapin.
//!
//! A supervisor task keeps one connection with a confirming channel for each queue, for ever; lapin's own recovery stays off.
//! Everything that reaches the broker goes through that task, because lapin numbers a publish and queues its
//! frames in two steps: from several tasks, confirms would be given to the wrong messages.

mod confirms;
mod consumer;
mod dead;
mod dial;
mod encode;
mod health;
mod link;
mod publishers;
mod queues;
mod settings;
mod supervisor;
mod topology;

pub use consumer::{Answer, Consumer, Handed};
pub use dead::{DeadError, DeadLetters, Found, Letter, Verb, Which};
pub use settings::{NAMES_TAKEN, Pace, Settings, SettingsError, is_source_name};
pub use supervisor::{CheckError, Checked, ExchangeFound, RabbitMq};
pub use topology::Names;

/// What a log filter must hold back: lapin prints returned messages, bodies included, as warnings, and every
/// frame at `trace`. The sink logs connections and refusals itself, so nothing is missed without lapin's lines.
pub const LOG_DIRECTIVES: [&str; 2] = ["lapin=off", "amq_protocol=off"];
