//! A TCP proxy that does what networks do: forward, cut, stall, reset, half close, delay, lose, throttle.
//!
//! Each connection is two threads that look at the mode before each piece of data. At most
//! [`CONNECTIONS_MAX`] connections; everything ends when the proxy is dropped.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// More connections than that at a time are closed at once.
pub const CONNECTIONS_MAX: usize = 256;
/// How soon a change of mode is noticed on an idle connection.
const LOOK: Duration = Duration::from_millis(5);

/// Pieces a second of a throttled connection.
const THROTTLED_PIECES: u64 = 50;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Forward,
    /// Connections end (FIN both ways), and so do new ones at once.
    Cut,
    /// Connections stay open, new ones are accepted, nothing passes.
    BlackHole,
    /// The client's bytes pass; what the server answers waits until another mode.
    Mute,
    /// Connections end with RST, and so do new ones at once.
    Reset,
    /// The client sees the end of the server's stream; its own bytes still pass.
    HalfClose,
    /// They pass, each piece that much later.
    Delay(Duration),
    /// That many bytes of the client's still pass on each connection, then it ends.
    CutAfter(u64),
    /// The client's bytes pass; what the server says is lost.
    LostReplies,
    /// So many bytes a second pass each way on each connection.
    Throttle(u64),
    /// They pass and connections are cut in turn, each for that long.
    Flap(Duration),
}

struct Shared {
    /// Where new connections go, and how often that was changed.
    upstream: Mutex<(SocketAddr, u64)>,
    /// And since when it is so.
    mode: Mutex<(Mode, Instant)>,
    stop: AtomicBool,
    open: AtomicUsize,
    accepted: AtomicU64,
}

/// A proxy in front of one server. Dropping it ends it and its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a free loopback port and forwards to `upstream`.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: Mutex::new((upstream, 0)),
            mode: Mutex::new((Mode::Forward, Instant::now())),
            stop: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to bytes, of open connections too.
    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = (mode, Instant::now());
    }

    /// Forwards again. Connections that ended stay ended.
    pub fn restore(&self) {
        self.set(Mode::Forward);
    }

    /// Forwards to another server from here on, as a name does after a failover. Open connections end.
    pub fn redirect(&self, upstream: SocketAddr) {
        let mut current = self.shared.upstream.lock().unwrap();
        *current = (upstream, current.1 + 1);
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open at this moment.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// What happens at this moment.
    fn mode(&self) -> Mode {
        match *self.mode.lock().unwrap() {
            (Mode::Flap(phase), since) => {
                let turns = since.elapsed().as_nanos() / phase.as_nanos();
                if turns % 2 == 0 { Mode::Cut } else { Mode::Forward }
            }
            (mode, _) => mode,
        }
    }

    fn upstream(&self) -> (SocketAddr, u64) {
        *self.upstream.lock().unwrap()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopped() {
        match listener.accept() {
            Ok((client, _)) => {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                if shared.open.fetch_add(1, Ordering::SeqCst) < CONNECTIONS_MAX {
                    let shared = Arc::clone(shared);
                    thread::spawn(move || connection(client, &shared));
                } else {
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                }
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}

fn connection(client: TcpStream, shared: &Arc<Shared>) {
    client.set_nonblocking(false).unwrap();
    match shared.mode() {
        Mode::Cut => {}
        Mode::Reset => reset(&client),
        _ => {
            let (upstream, turn) = shared.upstream();
            if let Ok(server) = TcpStream::connect(upstream) {
                both_ways(&client, &server, shared, turn);
            }
        }
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

fn both_ways(client: &TcpStream, server: &TcpStream, shared: &Arc<Shared>, turn: u64) {
    for stream in [client, server] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LOOK)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| pump(client, server, shared, (true, turn)));
        scope.spawn(|| pump(server, client, shared, (false, turn)));
    });
}

/// Moves bytes one way until an end, a fault, a change of the upstream or the proxy's own end.
fn pump(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared, (from_client, turn): (bool, u64)) {
    let mut piece = vec![0_u8; 64 * 1024];
    let mut passed = 0_u64;
    loop {
        let mode = shared.mode();
        let over = matches!(mode, Mode::CutAfter(limit) if from_client && passed >= limit);
        if shared.stopped() || over || mode == Mode::Cut || shared.upstream().1 != turn {
            return end(from, to);
        }
        match mode {
            Mode::Reset => {
                // Both threads come here within moments; the sockets are closed after that.
                return reset(if from_client { from } else { to });
            }
            Mode::BlackHole => {
                thread::sleep(LOOK);
                continue;
            }
            Mode::Mute if !from_client => {
                thread::sleep(LOOK);
                continue;
            }
            Mode::HalfClose if !from_client => {
                // The peer may be gone already.
                to.shutdown(Shutdown::Write).unwrap_or_default();
                thread::sleep(LOOK);
                continue;
            }
            _ => {}
        }
        let room = match mode {
            Mode::CutAfter(limit) if from_client => usize::try_from(limit - passed).unwrap_or(usize::MAX),
            Mode::Throttle(rate) => usize::try_from(rate / THROTTLED_PIECES).unwrap_or(usize::MAX).max(1),
            _ => usize::MAX,
        };
        let space = piece.len().min(room);
        match from.read(&mut piece[..space]) {
            Ok(0) => {
                to.shutdown(Shutdown::Write).unwrap_or_default();
                return;
            }
            Ok(read) => {
                match mode {
                    Mode::Delay(delay) => thread::sleep(delay),
                    Mode::Throttle(_) => thread::sleep(Duration::from_secs(1) / THROTTLED_PIECES as u32),
                    Mode::LostReplies if !from_client => continue,
                    _ => {}
                }
                // The mode may have changed while this thread waited for the piece.
                let holds = |mode| mode == Mode::BlackHole || (mode == Mode::Mute && !from_client);
                while holds(shared.mode()) && !shared.stopped() && shared.upstream().1 == turn {
                    thread::sleep(LOOK);
                }
                if shared.upstream().1 != turn {
                    return end(from, to);
                }
                if to.write_all(&piece[..read]).is_err() {
                    return end(from, to);
                }
                passed += read as u64;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return end(from, to),
        }
    }
}

/// Ends both streams, as far as the peers have not done so.
fn end(from: &TcpStream, to: &TcpStream) {
    for stream in [from, to] {
        stream.shutdown(Shutdown::Both).unwrap_or_default();
    }
}

/// Makes the kernel send RST when the socket is closed.
fn reset(stream: &TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    let handle = stream.try_clone().unwrap();
    handle.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(handle).unwrap().set_zero_linger().unwrap();
}
