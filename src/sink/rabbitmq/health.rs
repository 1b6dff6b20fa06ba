//! What is wrong, said once: which failures pass by themselves and which need a person; and the place where
//! the sink's health is kept for others to read.

use std::sync::Arc;

use lapin::ErrorKind;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::sink::{Confirmation, Health, State};

/// AMQP reply codes that a message can cause by what it is: too large, or a frame the broker cannot read.
const CAUSED_BY_A_MESSAGE: [u16; 5] = [311, 406, 501, 502, 505];
/// Reply codes that waiting does not cure: rights, missing or different exchange, queue or virtual host.
const NEEDS_A_PERSON: [u16; 4] = [403, 404, 406, 530];

/// Why there is no connection to publish on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Worth trying again soon.
    Passing(String),
    /// Somebody has to change something in the broker or in the configuration.
    Refused { code: u16, reason: String },
}

impl Trouble {
    /// Sorts an error of the client. Reply texts name exchanges, queues and users, never passwords or bodies.
    pub(super) fn of(error: &lapin::Error) -> Self {
        match reply(error) {
            Some((code, reason)) if NEEDS_A_PERSON.contains(&code) => Self::Refused { code, reason },
            Some((code, reason)) => Self::Passing(format!("{code} {reason}")),
            None => Self::Passing(error.to_string()),
        }
    }

    /// Adds what to do about a refusal.
    pub(super) fn advise(self, advice: &str) -> Self {
        match self {
            Self::Refused { code, reason } => Self::Refused { code, reason: format!("{reason}; {advice}") },
            passing => passing,
        }
    }
}

/// Reply code and text of an error that the broker sent.
pub(super) fn reply(error: &lapin::Error) -> Option<(u16, String)> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some((error.get_id(), error.get_message().to_string())),
        _ => None,
    }
}

/// What a message in flight is told when its channel or connection ended by `error`.
pub(super) fn interrupted(error: &lapin::Error) -> Confirmation {
    match reply(error) {
        Some((code, reason)) if CAUSED_BY_A_MESSAGE.contains(&code) => {
            Confirmation::ChannelClosed { code, reason }
        }
        Some((code, reason)) => Confirmation::Unknown { cause: format!("{code} {reason}") },
        None => Confirmation::Unknown { cause: error.to_string() },
    }
}

/// Where the supervisor writes the sink's health.
pub(super) struct Board {
    health: watch::Sender<Health>,
    clock: Arc<dyn Clock>,
}

impl Board {
    pub(super) fn new(clock: Arc<dyn Clock>) -> (Self, watch::Receiver<Health>) {
        let first = Health { state: State::Connecting { last_error: None }, since: clock.now() };
        let (health, seen) = watch::channel(first);
        (Self { health, clock }, seen)
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Notes a state and logs it; `since` stays where only the details change.
    pub(super) fn set(&self, state: State) {
        match &state {
            State::Connected => tracing::info!("rabbitmq: connected"),
            State::Blocked { reason } => tracing::warn!(%reason, "rabbitmq: the broker asks to wait"),
            State::Refused { code, reason } => tracing::error!(code, %reason, "rabbitmq: refused"),
            State::Connecting { last_error: Some(error) } => {
                tracing::warn!(%error, "rabbitmq: not connected")
            }
            State::Connecting { last_error: None } | State::Closed => {}
        }
        let now = self.clock.now();
        self.health.send_modify(|health| {
            if std::mem::discriminant(&health.state) != std::mem::discriminant(&state) {
                health.since = now;
            }
            health.state = state;
        });
    }

    /// Notes why there is no connection.
    pub(super) fn trouble(&self, trouble: Trouble) {
        self.set(match trouble {
            Trouble::Passing(error) => State::Connecting { last_error: Some(error) },
            Trouble::Refused { code, reason } => State::Refused { code, reason },
        });
    }
}
