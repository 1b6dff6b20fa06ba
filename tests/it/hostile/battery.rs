//! The battery: requests as bytes, what must come of each, and what must hold after it (G5).
//!
//! Every case is tried on a connection from an address of its own. After each one a signed delivery on another
//! connection is accepted; after all of them the process is the same and as large as before, no control character
//! stands in its log, and its workers get nothing but what honest senders sent.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::wire::{Heard, Wait, Wire, stranger};
use crate::gateway::*;
use crate::tls;
use crate::tls::https::{Caller, Https};
use crate::tls::party::Authority;

/// Cases tried at once: most of them wait for a deadline that they provoke.
const AT_ONCE: usize = 6;
/// Each case is over by then: the gateway's own deadlines are a third of it.
const LIMIT: Duration = Duration::from_secs(9);
/// What an honest sender waits at most, on a machine that runs other tests beside.
const HONEST: Duration = Duration::from_secs(4);
/// How much a gateway may grow, in bytes, whatever is sent to it.
pub const GROWTH: u64 = 64 << 20;
/// How bodies of honest senders begin.
const MARK: &str = "honest";

/// A request and what must come of it.
pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    pub expected: Expected,
}

/// What must come of a request. Every refusal is a problem document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// One refusal with one of these statuses, then the end of the connection.
    Refused(&'static [u16]),
    /// The same, or the end alone: what is sent is more than the gateway takes, and an end overtakes its answer.
    Cut,
    /// One answer with one of these statuses, whatever becomes of the connection.
    Answered(&'static [u16]),
    /// Accepted, once.
    Accepted,
    /// Accepted as it is signed, or refused and the connection ended.
    AcceptedOrRefused,
}

impl Case {
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>, expected: Expected) -> Self {
        Self { name: name.into(), bytes: bytes.into(), expected }
    }

    fn wait(&self) -> Wait {
        match self.expected {
            Expected::Refused(_) | Expected::Cut => Wait::Closed,
            _ => Wait::Answered,
        }
    }

    /// What is wrong about what was heard.
    fn fault(&self, heard: &Heard) -> Option<&'static str> {
        let statuses: Vec<u16> = heard.answers.iter().map(|answer| answer.status).collect();
        let all = |allowed: &[u16]| statuses.iter().all(|status| allowed.contains(status));
        let problems = heard.answers.iter().all(|answer| answer.status < 400 || !answer.code().is_empty());
        match self.expected {
            _ if !problems => Some("a refusal is no problem document"),
            _ if statuses.len() > 1 => Some("it was answered more than once"),
            Expected::Cut if !heard.closed => Some("the connection stayed open"),
            Expected::Cut if !statuses.iter().all(|status| (400..500).contains(status)) => {
                Some("it is no refusal")
            }
            Expected::Cut if heard.took > LIMIT => Some("it took too long"),
            Expected::Cut => None,
            _ if statuses.is_empty() => Some("it was not answered"),
            Expected::Refused(_) if statuses[0] < 300 => Some("it was accepted"),
            Expected::Refused(allowed) if !all(allowed) => Some("the status is another"),
            Expected::Refused(_) if !heard.closed => Some("the connection stayed open"),
            Expected::Refused(_) if heard.answers[0].header("connection") != "close" => {
                Some("the answer does not tell that the connection ends")
            }
            _ if heard.took > LIMIT => Some("it took too long"),
            Expected::Answered(allowed) if !all(allowed) => Some("the status is another"),
            Expected::Accepted if !all(&[200]) => Some("it was not accepted"),
            Expected::AcceptedOrRefused if !all(&[200, 400]) => Some("the status is another"),
            Expected::AcceptedOrRefused if statuses == [400] && !until_closed(heard) => {
                Some("it was refused and the connection stayed open")
            }
            _ => None,
        }
    }
}

/// Whether the answer tells that the connection ends.
fn until_closed(heard: &Heard) -> bool {
    heard.closed || heard.answers.iter().any(|answer| answer.header("connection") == "close")
}

/// A gateway under attack.
pub struct Battery {
    pub gateway: Gateway,
    /// How its clients speak, where they do so under TLS.
    tls: Option<Arc<ClientConfig>>,
    honest: AtomicUsize,
    resident: u64,
}

impl Battery {
    /// A gateway with short deadlines and the sources `plain`, `hidden`, `shop` and `git`.
    pub fn start() -> Self {
        Self::of(Setup::new().set("ingress", "head_timeout = \"2s\"\nbody_timeout = \"2s\""))
    }

    /// A gateway of one's own, with these sources too.
    pub fn of(setup: Setup) -> Self {
        Self::against(Self::sources(setup).start(), None)
    }

    /// The same under TLS.
    pub fn under_tls() -> Self {
        let authority = Authority::new("web");
        let setup = Setup::new().set("ingress", "head_timeout = \"2s\"\nbody_timeout = \"2s\"");
        let mut gateway = tls::certified(&authority, Self::sources(setup));
        gateway.start();
        Self::against(gateway, Some(Caller::of(&authority.pem).config()))
    }

    fn sources(setup: Setup) -> Setup {
        let named = [("plain", "generic"), ("hidden", "generic"), ("shop", "stripe"), ("git", "github")];
        named.iter().fold(setup, |setup, (name, provider)| setup.source(name, provider, ""))
    }

    fn against(gateway: Gateway, tls: Option<Arc<ClientConfig>>) -> Self {
        let mut battery = Self { gateway, tls, honest: AtomicUsize::new(0), resident: 0 };
        // What the first requests touch is no growth.
        for _ in 0..50 {
            battery.honest().unwrap();
        }
        battery.resident = battery.resident();
        battery
    }

    /// Bytes of memory that the process has.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
    }

    /// How much larger it is than at its start.
    pub fn growth(&self) -> u64 {
        self.resident().saturating_sub(self.resident)
    }

    /// A signed delivery on a connection of its own.
    ///
    /// # Errors
    /// Where it was not accepted, or late.
    pub fn honest(&self) -> Result<Duration, String> {
        let number = self.honest.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let signed = generic("plain", format!("{MARK} {number}").as_bytes());
        let answer = match &self.tls {
            None => Client::new(self.gateway.ingress()).within(HONEST * 2).try_deliver(&signed),
            Some(tls) => {
                Https::connect(self.gateway.ingress(), tls).and_then(|mut client| client.deliver(&signed))
            }
        };
        match answer {
            Some(answer) if answer.status == 200 && begun.elapsed() < HONEST => Ok(begun.elapsed()),
            Some(answer) => Err(format!("an honest delivery: {} after {:?}", answer.status, begun.elapsed())),
            None => Err("an honest delivery was not answered".to_owned()),
        }
    }

    /// Tries all cases, and panics with every one that ended otherwise than it must.
    pub fn run(&self, cases: &[Case]) {
        let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let take = || cases.get(next.fetch_add(1, Ordering::Relaxed));
        let work = || {
            let found: Vec<String> =
                std::iter::from_fn(take).filter_map(|case| self.attempt(case).err()).collect();
            faults.lock().unwrap().extend(found);
        };
        std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
        let faults = faults.into_inner().unwrap();
        assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
    }

    fn attempt(&self, case: &Case) -> Result<(), String> {
        let tell = |what: &str| Err(format!("{}: {what}; sent {}", case.name, shown(&case.bytes)));
        let wire = Wire::open(stranger(), self.gateway.ingress());
        let Some(mut wire) = wire.and_then(|wire| wire.under(self.tls.as_ref())) else {
            return tell("no connection");
        };
        wire.say(&case.bytes);
        let heard = wire.hear(case.wait(), LIMIT + Duration::from_secs(1));
        if let Some(fault) = case.fault(&heard) {
            let statuses: Vec<u16> = heard.answers.iter().map(|answer| answer.status).collect();
            let end = if heard.closed { "closed" } else { "open" };
            return tell(&format!(
                "{fault} ({statuses:?}, {end}, {} ms, rest {})",
                heard.took.as_millis(),
                shown(&heard.rest)
            ));
        }
        match self.honest() {
            Ok(_) => Ok(()),
            Err(fault) => tell(&fault),
        }
    }

    /// What must hold when all is over; `accepted` are the bodies that may have been accepted beside the honest ones.
    pub fn end(mut self, accepted: &[&[u8]]) {
        assert!(!self.gateway.is_dead(), "the process has ended");
        assert!(self.growth() <= GROWTH, "it grew by {} MiB", self.growth() >> 20);
        let honest = self.honest.load(Ordering::Relaxed);
        let events = self.gateway.drain("plain", honest);
        let mine = events.iter().filter(|event| event.body.starts_with(MARK.as_bytes())).count();
        assert_eq!(mine, honest, "honest deliveries that reached a worker");
        let foreign = |body: &[u8]| !body.starts_with(MARK.as_bytes()) && !accepted.contains(&body);
        let smuggled: Vec<_> = events.iter().filter(|event| foreign(&event.body)).collect();
        assert!(smuggled.is_empty(), "{} reached a worker: {}", smuggled.len(), shown(&smuggled[0].body));
        for source in ["shop", "git", "hidden"] {
            assert!(self.gateway.claim(source, 10).is_empty(), "something reached a worker of {source}");
        }
        let hidden = self.gateway.metric("hookgate_requests_total", &[("source", "hidden")]);
        assert_eq!(hidden, 0.0, "requests that were none");
        self.log_is_clean();
        assert_eq!(self.gateway.terminate().0, Some(0), "its end");
    }

    /// No control character, nothing that turns a line's direction, no endless line.
    pub fn log_is_clean(&self) {
        let turns = |letter: char| {
            ('\u{202a}'..='\u{202e}').contains(&letter) || ('\u{2066}'..='\u{2069}').contains(&letter)
        };
        for line in self.gateway.stderr().lines() {
            assert!(!line.chars().any(|letter| letter.is_control() || turns(letter)), "in the log: {line:?}");
            assert!(
                line.len() < 4096,
                "a line of {} bytes in the log: {}",
                line.len(),
                shown(line.as_bytes())
            );
        }
    }
}

/// Bytes as one can read and repeat them, the middle left out where they are many.
pub fn shown(bytes: &[u8]) -> String {
    const ENDS: usize = 260;
    if bytes.len() <= 2 * ENDS {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let (head, tail) = (&bytes[..ENDS], &bytes[bytes.len() - ENDS..]);
    format!("\"{}\" … {} bytes … \"{}\"", head.escape_ascii(), bytes.len() - 2 * ENDS, tail.escape_ascii())
}

/// The header that signs `body` for `plain`.
pub fn signature(body: &[u8]) -> String {
    format!("x-signature: {}\r\n", generic("plain", body).header("x-signature"))
}

/// A request to `plain` with these lines, signed for the body that one of its readings has.
pub fn post(lines: &str, wire: &[u8], reading: &[u8]) -> Vec<u8> {
    let head = format!("POST /in/plain HTTP/1.1\r\nhost: gateway\r\n{}{lines}\r\n", signature(reading));
    [head.as_bytes(), wire].concat()
}

/// A whole request for a source, signed.
pub fn whole(source: &str, body: &str) -> Vec<u8> {
    let signed = generic(source, body.as_bytes());
    let (path, signature, length) = (&signed.path, signed.header("x-signature"), body.len());
    format!("POST {path} HTTP/1.1\r\nhost: gateway\r\nx-signature: {signature}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A whole signed request as a smuggler would hide it, for a source that nobody else has requests for.
pub fn smuggled(body: &str) -> Vec<u8> {
    whole("hidden", body)
}
