//! What a supervisor such as systemd is told, by the protocol of sd_notify(3): that the gateway takes deliveries, that it
//! loads its configuration again, that it ends, and, as often as it is asked to, that it is alive.
//!
//! A datagram of `NAME=value` lines goes to the socket that `NOTIFY_SOCKET` names; without that variable nobody is told.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock;
use crate::provider::secret::Environment;
use crate::tasks;

const SOCKET: &str = "NOTIFY_SOCKET";
/// How often the supervisor wants a sign of life, in microseconds, and from which process alone.
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_OF: &str = "WATCHDOG_PID";
/// A supervisor whose queue is full holds up nobody for longer.
const SEND: Duration = Duration::from_secs(1);
/// Looks at the acceptance thread in each time that the watchdog gives: a hang is noticed after that time and one look.
const LOOKS: u32 = 3;
/// An idle acceptance thread moves four times a second; more frequent looks would find it at rest.
const LOOK_MIN: Duration = Duration::from_millis(300);

/// Whoever started the gateway and wants to be told; or nobody. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Supervisor {
    line: Option<Arc<Line>>,
    watchdog: Option<Duration>,
}

/// The way there.
struct Line {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Supervisor {
    /// The one that the environment names; what cannot be used is told on stderr, since no log runs yet.
    pub(super) fn of(env: &Environment) -> Self {
        let Some(name) = env.get(SOCKET).filter(|name| !name.is_empty()) else { return Self::default() };
        let line = match Line::to(name) {
            Ok(line) => line,
            Err(error) => {
                eprintln!("hookgate: {SOCKET} = {}: {error}; nobody is told of the start", name.display());
                return Self::default();
            }
        };
        Self { line: Some(Arc::new(line)), watchdog: watchdog(env, process::id()) }
    }

    /// It takes deliveries; also after a reload, whatever came of that.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It loads its configuration again; [`Supervisor::ready`] follows.
    pub(super) fn reloading(&self) {
        let at = clock::shared_monotonic().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={at}\nSTATUS=loads its configuration again"));
    }

    /// It ends.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS=ending: {status}"));
    }

    /// Gives the sign of life from here on, where one is wanted, as long as this runtime turns and `rounds`, if it has a
    /// number, has another one each time.
    pub(super) fn watch(&self, rounds: impl Fn() -> Option<u64> + Send + 'static) {
        let Some(within) = self.watchdog else { return };
        let (told, look) = (self.clone(), (within / LOOKS).max(LOOK_MIN));
        let watching = async move {
            let mut before = None;
            loop {
                let now = rounds();
                if now.is_none() || now != before {
                    told.tell("WATCHDOG=1");
                }
                before = now;
                sleep(look).await;
            }
        };
        drop(tasks::task(watching));
    }

    fn tell(&self, what: &str) {
        if let Some(line) = &self.line
            && let Err(error) = line.socket.send_to_addr(what.as_bytes(), &line.to)
        {
            let first = what.split('\n').next().unwrap_or_default();
            tracing::warn!(%error, "the supervisor that {SOCKET} names was not told {first}");
        }
    }
}

impl Line {
    /// To a path, or after `@` to a name without a file.
    fn to(name: &OsStr) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::other("expected an absolute path, or @ and a name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND))?;
        Ok(Self { socket, to })
    }
}

/// How often the process of this number is to give a sign of life.
fn watchdog(env: &Environment, pid: u32) -> Option<Duration> {
    let number = |name| env.get(name)?.to_str()?.parse::<u64>().ok();
    let ours = env.get(WATCHDOG_OF).is_none() || number(WATCHDOG_OF) == Some(u64::from(pid));
    let within = number(WATCHDOG).filter(|within| *within > 0 && ours)?;
    Some(Duration::from_micros(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Environment {
        variables.iter().copied().collect()
    }

    #[test]
    fn signs_of_life_are_for_whoever_asked_this_process() {
        let within = |variables: &[(&str, &str)]| watchdog(&env(variables), 7);
        let second = Some(Duration::from_secs(1));
        assert_eq!(within(&[(WATCHDOG, "1000000")]), second);
        assert_eq!(within(&[(WATCHDOG, "1000000"), (WATCHDOG_OF, "7")]), second);
        for none in [
            &[(WATCHDOG, "1000000"), (WATCHDOG_OF, "8")][..],
            &[(WATCHDOG, "1000000"), (WATCHDOG_OF, "")],
            &[(WATCHDOG, "0")],
            &[(WATCHDOG, "1s")],
            &[],
        ] {
            assert_eq!(within(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_name_that_is_no_socket_is_nobodys() {
        for name in ["", "notify", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
            assert!(Supervisor::of(&env(&[(SOCKET, name)])).line.is_none(), "{name}");
        }
        for name in ["/run/systemd/notify", "@hookgate"] {
            assert!(Supervisor::of(&env(&[(SOCKET, name)])).line.is_some(), "{name}");
        }
    }
}
