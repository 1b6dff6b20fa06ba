//! What a supervisor is told on its socket: `NOTIFY_SOCKET` and `WATCHDOG_USEC`, as systemd sets them.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
#[cfg(feature = "failpoints")]
use std::thread::scope;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use crate::gateway::*;

const SOON: Duration = Duration::from_secs(10);

/// The supervisor's end of the socket.
struct Supervisor {
    socket: UnixDatagram,
    name: String,
    _dir: tempfile::TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, name: path.to_str().unwrap().to_owned(), _dir: dir }
    }

    fn setup(&self) -> Setup {
        Setup::new().source("shop", "stripe", "").env("NOTIFY_SOCKET", &self.name)
    }

    /// The lines of the next datagram, if one comes in time.
    fn next_within(&self, limit: Duration) -> Option<Vec<String>> {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(limit)).unwrap();
        match self.socket.recv(&mut bytes) {
            Ok(count) => {
                Some(std::str::from_utf8(&bytes[..count]).unwrap().lines().map(str::to_owned).collect())
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                None
            }
        }
    }

    fn next(&self) -> Vec<String> {
        self.next_within(SOON).expect("a datagram")
    }

    /// The next datagram that is no sign of life.
    fn news(&self) -> Vec<String> {
        loop {
            let next = self.next();
            if next != ["WATCHDOG=1"] {
                return next;
            }
        }
    }

    /// Signs of life that come within so long.
    fn signs_within(&self, limit: Duration) -> usize {
        let end = Instant::now() + limit;
        let mut count = 0;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let Some(next) = self.next_within(left) else { break };
            assert_eq!(next, ["WATCHDOG=1"]);
            count += 1;
        }
        count
    }
}

fn value(lines: &[String], name: &str) -> String {
    let found = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {lines:?}")).to_owned()
}

fn monotonic_micros() -> u64 {
    let at = clock_gettime(ClockId::Monotonic);
    u64::try_from(at.tv_sec).unwrap() * 1_000_000 + u64::try_from(at.tv_nsec).unwrap() / 1000
}

#[test]
fn a_start_a_reload_and_the_end_are_told() {
    let supervisor = Supervisor::new();
    let mut gateway = supervisor.setup().prepare();
    gateway.launch();
    let ready = supervisor.next();
    assert_eq!(value(&ready, "READY"), "1");
    assert!(value(&ready, "STATUS").contains(&gateway.ingress().to_string()), "{ready:?}");
    let first = gateway.deliver(&stripe("shop", &stripe_event("evt_0")));
    assert_eq!(first.status, 200, "whoever is told sends at once");

    let before = monotonic_micros();
    gateway.signal(Signal::HUP);
    let reloading = supervisor.next();
    assert_eq!(value(&reloading, "RELOADING"), "1");
    let at: u64 = value(&reloading, "MONOTONIC_USEC").parse().unwrap();
    assert!((before..=monotonic_micros()).contains(&at), "{at} is not after {before}");
    let again = supervisor.next();
    assert_eq!(
        (value(&again, "READY").as_str(), value(&again, "STATUS").ends_with(": unchanged")),
        ("1", true)
    );

    // Files that are wrong leave it as it was, and the reload still ends.
    fs::write(gateway.path("hookgate.toml"), "nothing = \"of that name\"").unwrap();
    gateway.signal(Signal::HUP);
    assert_eq!(value(&supervisor.next(), "RELOADING"), "1");
    let refused = supervisor.next();
    assert_eq!(
        (value(&refused, "READY").as_str(), value(&refused, "STATUS").ends_with(": invalid")),
        ("1", true)
    );

    let (code, _) = gateway.terminate();
    assert_eq!(code, Some(0));
    assert_eq!(value(&supervisor.next(), "STOPPING"), "1");
    assert_eq!(supervisor.next_within(Duration::from_millis(1)), None, "nothing is asked for");
}

#[test]
fn a_socket_without_a_file_is_told_too() {
    let name = format!("hookgate-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let supervisor = Supervisor { socket: UnixDatagram::bind_addr(&address).unwrap(), ..Supervisor::new() };
    let _gateway = supervisor.setup().env("NOTIFY_SOCKET", &format!("@{name}")).start();
    assert_eq!(value(&supervisor.next(), "READY"), "1");
}

#[test]
fn a_supervisor_that_is_gone_stops_nothing() {
    let supervisor = Supervisor::new();
    let setup = supervisor.setup();
    drop(supervisor);
    let mut gateway = setup.start();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_0"))).status, 200);
    assert!(gateway.stderr().contains("was not told READY=1"), "{}", gateway.stderr());
    assert_eq!(gateway.terminate().0, Some(0));
}

#[test]
fn signs_of_life_come_within_the_time_that_is_asked_for() {
    let supervisor = Supervisor::new();
    let gateway = supervisor.setup().env("WATCHDOG_USEC", "1500000").start();
    assert_eq!(value(&supervisor.next(), "READY"), "1");
    let signs = supervisor.signs_within(Duration::from_secs(3));
    assert!((4..=7).contains(&signs), "{signs} in 3 s, each within 1.5 s");
    drop(gateway);
    let other = Supervisor::new();
    let _gateway = other.setup().env("WATCHDOG_USEC", "600000").env("WATCHDOG_PID", "1").start();
    assert_eq!(value(&other.next(), "READY"), "1");
    assert_eq!(other.signs_within(Duration::from_secs(1)), 0, "another process is asked");
}

/// The disk holds a sync up: senders wait, nothing moves, and the supervisor is to hear of no life.
#[cfg(feature = "failpoints")]
#[test]
fn while_the_acceptance_thread_hangs_no_sign_of_life_is_given() {
    let supervisor = Supervisor::new();
    let setup = supervisor.setup().env("WATCHDOG_USEC", "900000");
    let gateway = setup.failpoint("journal.sync.before", "1*off->1*sleep(4000)->off").start();
    assert_eq!(value(&supervisor.news(), "READY"), "1");
    let shop = |id: &str| stripe("shop", &stripe_event(id));
    assert_eq!(gateway.deliver(&shop("evt_0")).status, 200);
    assert!(supervisor.signs_within(Duration::from_secs(1)) > 0);
    scope(|scope| {
        let hanging = scope.spawn(|| gateway.deliver(&shop("evt_1")).status);
        // One look may have been between the round before and the hang.
        let early = supervisor.signs_within(Duration::from_millis(700));
        assert!(early <= 2, "{early}");
        assert_eq!(supervisor.signs_within(Duration::from_secs(2)), 0, "it hangs, and is not alive");
        assert_eq!(hanging.join().unwrap(), 200, "and after the hang it is");
    });
    assert!(supervisor.signs_within(Duration::from_secs(1)) > 0);
}
