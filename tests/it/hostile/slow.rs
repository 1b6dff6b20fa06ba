//! Clients that take their time: each is cut within half a minute, and nobody else waits for them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::battery::{Battery, GROWTH, post, signature, whole};
use super::wire::stranger;
use crate::gateway::Setup;
use crate::load::number;

/// Every connection that brings nothing has ended by then.
const CUT: Duration = Duration::from_secs(30);
/// What a probe may take at worst, on a machine that runs other tests beside.
const PROBE: Duration = Duration::from_secs(3);

/// How a slow client fared.
struct Fared {
    name: &'static str,
    /// From its first byte to the end of its connection; none where that did not come.
    ended: Option<Duration>,
    heard: Vec<u8>,
}

async fn connect(to: SocketAddr, receive: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = receive {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    socket.bind(SocketAddr::new(stranger(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Says `first`, then `drop` again and again, until the connection ends.
async fn drip(to: SocketAddr, first: Vec<u8>, drop: &'static [u8], every: Duration) -> Vec<u8> {
    let mut stream = connect(to, None).await;
    let (mut heard, mut piece) = (Vec::new(), [0_u8; 4096]);
    let mut open = stream.write_all(&first).await.is_ok();
    while open {
        match timeout(every, stream.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => open = false,
            Ok(Ok(length)) => heard.extend_from_slice(&piece[..length]),
            Err(_) => open = stream.write_all(drop).await.is_ok(),
        }
    }
    heard
}

/// Says `bytes`, ends its side, and listens to the end.
async fn half_close(to: SocketAddr, bytes: Vec<u8>) -> Vec<u8> {
    let mut stream = connect(to, None).await;
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    listen(stream).await
}

async fn listen(mut stream: TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    // A connection that is reset has ended too.
    drop(stream.read_to_end(&mut heard).await);
    heard
}

/// Asks without end and reads nothing.
async fn never_reads(to: SocketAddr, request: Vec<u8>) -> Vec<u8> {
    let mut stream = connect(to, Some(4096)).await;
    let all = request.repeat(10_000);
    if stream.write_all(&all).await.is_ok() {
        // The end shows in that nobody takes what is said.
        while stream.write_all(b"\r\n").await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
    }
    Vec::new()
}

/// A crowd of slow clients in a thread of their own.
struct Crowd {
    clients: JoinSet<Fared>,
}

impl Crowd {
    fn join(&mut self, name: &'static str, client: impl Future<Output = Vec<u8>> + Send + 'static) {
        self.clients.spawn(async move {
            let begun = Instant::now();
            let heard = timeout(CUT + Duration::from_secs(5), client).await.ok();
            Fared { name, ended: heard.is_some().then(|| begun.elapsed()), heard: heard.unwrap_or_default() }
        });
    }
}

/// Runs a crowd to its end; meanwhile an honest sender delivers every 100 ms. How each fared, the probes, and the most
/// that the gateway grew.
fn endure(battery: &Battery, gather: impl FnOnce(&mut Crowd, SocketAddr) + Send) -> (Vec<Fared>, u64) {
    let over = Arc::new(AtomicBool::new(false));
    let to = battery.gateway.ingress();
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let fared = runtime.block_on(async {
                let mut crowd = Crowd { clients: JoinSet::new() };
                gather(&mut crowd, to);
                crowd.clients.join_all().await
            });
            over.store(true, Ordering::Relaxed);
            fared
        });
        let mut most = 0;
        while !over.load(Ordering::Relaxed) {
            let took = battery.honest().unwrap_or_else(|fault| panic!("beside slow clients: {fault}"));
            assert!(took < PROBE, "a probe took {took:?}");
            most = most.max(battery.growth());
            std::thread::sleep(Duration::from_millis(100));
        }
        (crowd.join().unwrap(), most)
    })
}

fn ended(fared: &[Fared]) {
    for Fared { name, ended, heard } in fared {
        let heard = heard.escape_ascii().to_string();
        assert!(ended.is_some_and(|ended| ended <= CUT), "{name}: open after {CUT:?}, heard {heard}");
        assert!(!heard.contains("HTTP/1.1 2") && !heard.contains("HTTP/1.1 5"), "{name}: {heard}");
    }
}

#[test]
fn whoever_is_slow_is_cut_and_nobody_waits_for_them() {
    let battery = Battery::of(Setup::new().set("ingress", "keep_alive = \"5s\""));
    let head = |length: usize| post(&format!("content-length: {length}\r\n"), b"", b"");
    let chunked = || post("transfer-encoding: chunked\r\n", b"", b"");
    let (short, long) = (Duration::from_millis(150), Duration::from_millis(900));
    let (fared, most) = endure(&battery, |crowd, to| {
        for _ in 0..20 {
            crowd.join("says nothing", drip(to, Vec::new(), b"", long));
            crowd.join(
                "a head by the byte",
                drip(to, b"POST /in/plain HTTP/1.1\r\nhost: a\r\nx-a: ".to_vec(), b"a", short),
            );
            crowd.join(
                "a head by the line",
                drip(to, b"POST /in/plain HTTP/1.1\r\nhost: a\r\n".to_vec(), b"x-a: b\r\n", long),
            );
            crowd.join("a first line by the byte", drip(to, b"P".to_vec(), b"O", long));
            crowd.join("a target by the byte", drip(to, b"POST /".to_vec(), b"a", short));
            crowd.join("a body by the byte", drip(to, head(100_000), b"x", short));
            crowd.join("a body that stops", drip(to, head(100_000), b"", long));
            crowd.join("chunks of a byte", drip(to, chunked(), b"1\r\nx\r\n", short));
            crowd.join("a size by the byte", drip(to, chunked(), b"0", long));
            crowd.join(
                "an extension by the byte",
                drip(to, [chunked(), b"1;".to_vec()].concat(), b"e", short),
            );
            crowd.join(
                "no end of the body",
                drip(to, [chunked(), b"1\r\nx\r\n0\r\n".to_vec()].concat(), b"", long),
            );
            crowd.join(
                "a head after an answer",
                drip(to, b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET".to_vec(), b"", long),
            );
            crowd.join(
                "idle after an answer",
                drip(to, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), b"", long),
            );
            crowd.join(
                "a body nobody asked for",
                drip(
                    to,
                    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n".to_vec(),
                    b"x",
                    short,
                ),
            );
            crowd.join("ends its side in the head", half_close(to, b"POST /in/plain HT".to_vec()));
            crowd.join("ends its side in the body", half_close(to, [head(9), b"x".to_vec()].concat()));
        }
        crowd.join("never reads what it is told", never_reads(to, whole("plain", "asked again and again")));
    });
    ended(&fared);
    assert!(most <= GROWTH, "it grew by {} MiB", most >> 20);
    battery.end(&[b"asked again and again"]);
}

/// Who ends its side after a whole request still gets its answer; who is slow and goes on is no attacker.
#[test]
fn a_slow_sender_that_goes_on_is_served() {
    let battery = Battery::of(Setup::new().set("ingress", "keep_alive = \"3s\""));
    let (fared, _) = endure(&battery, |crowd, to| {
        crowd.join("half closed", half_close(to, whole("plain", "half closed")));
        crowd.join("in pieces", async move {
            let mut stream = connect(to, None).await;
            let body = [b'p'; 40_000];
            let head = format!(
                "POST /in/plain HTTP/1.1\r\nhost: a\r\n{}connection: close\r\ncontent-length: 40000\r\n\r\n",
                signature(&body)
            );
            for piece in [head.as_bytes()[..30].to_vec(), head.as_bytes()[30..].to_vec()]
                .into_iter()
                .chain(body.chunks(8_000).map(<[u8]>::to_vec))
            {
                stream.write_all(&piece).await.unwrap();
                sleep(Duration::from_millis(500)).await;
            }
            listen(stream).await
        });
    });
    for Fared { name, heard, .. } in fared {
        assert!(heard.starts_with(b"HTTP/1.1 200 "), "{name}: {}", heard.escape_ascii());
    }
    battery.end(&[b"half closed", &[b'p'; 40_000]]);
}

#[test]
fn large_bodies_that_never_end_take_no_more_than_their_share() {
    let battery = Battery::of(Setup::new().set("ingress", "bodies_in_flight_max = \"12MiB\""));
    let (fared, most) = endure(&battery, |crowd, to| {
        let part = vec![b'x'; 400 << 10];
        for _ in 0..200 {
            let sized = [post("content-length: 500000\r\n", b"", b""), part.clone()].concat();
            let chunks = [post("transfer-encoding: chunked\r\n", b"7a120\r\n", b""), part.clone()].concat();
            crowd.join("most of a body", drip(to, sized, b"", Duration::from_secs(1)));
            crowd.join("most of a chunk", drip(to, chunks, b"", Duration::from_secs(1)));
        }
    });
    for Fared { name, ended, heard } in &fared {
        let heard = heard.escape_ascii().to_string();
        assert!(ended.is_some_and(|ended| ended <= CUT), "{name}: open after {CUT:?}, heard {heard}");
        let told = ["HTTP/1.1 408 ", "HTTP/1.1 503 "].iter().any(|start| heard.starts_with(start));
        assert!(told || heard.is_empty(), "{name}: {heard}");
    }
    assert!(most <= GROWTH, "it grew by {} MiB", most >> 20);
    println!("400 bodies of 400 KiB: {} MiB", most >> 20);
    battery.end(&[]);
}

/// As many connections as this process may have, up to `wanted`.
fn connections(wanted: u32) -> u32 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let files = maximum.map_or(wanted, |maximum| u32::try_from(maximum / 2).unwrap_or(wanted));
    wanted.min(files)
}

#[test]
fn thousands_of_connections_without_a_byte_keep_nobody_out() {
    let battery = Battery::of(Setup::new());
    let count = connections(number("HOOKGATE_IT_CONNECTIONS", 5_000));
    let (fared, most) = endure(&battery, |crowd, to| {
        for _ in 0..count {
            crowd.join("says nothing", async move { listen(connect(to, None).await).await });
        }
    });
    ended(&fared);
    assert!(most <= GROWTH, "{count} connections made it grow by {} MiB", most >> 20);
    battery.end(&[]);
}
