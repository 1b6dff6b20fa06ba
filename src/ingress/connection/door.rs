//! The door: how an accepted socket becomes a connection that the HTTP library serves, or is closed.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_server::GracefulShutdownSignal;
use tokio::net::TcpStream;

use super::guard::{Guarded, Rules};
use super::places::{Place, Places};
use super::proxy;
use super::timer::Timer;
use super::transport::Transport;
use crate::ingress::Live;
use crate::ingress::tls::Tls;
use crate::verify::ClientChain;

/// What a connection may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that all threads serve at once.
    pub connections_max: usize,
    /// Connections from one address; zero for any number. Those of trusted proxies are not counted.
    pub connections_per_address: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Time for all of a head, for what stands in front of the first one also.
    pub head_timeout: Duration,
    /// Time between an answer and the first byte of the next request.
    pub keep_alive: Duration,
    /// Whether every connection is a trusted proxy's and begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// Whom connections are taken from.
#[derive(Clone)]
pub struct Door {
    rules: Arc<Rules>,
    live: Live,
    places: Arc<Places>,
    stop: GracefulShutdownSignal,
    tls: Option<Arc<Tls>>,
}

/// A connection whose peer is known, before its first request.
struct Opened {
    transport: Transport,
    peer: SocketAddr,
    client: Option<ClientChain>,
}

impl Door {
    /// A door for what `live` says of proxies, that ends what has not begun once `stop` is notified.
    pub(in crate::ingress) fn new(rules: Rules, live: Live, stop: GracefulShutdownSignal) -> Self {
        let Limits { connections_max, connections_per_address, .. } = rules.limits;
        let places = Arc::new(Places::new(connections_max, connections_per_address));
        Self { rules: Arc::new(rules), live, places, stop, tls: None }
    }

    /// The same, for connections under TLS where there is any.
    pub fn under(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// Waits for the first head; a connection costs no more than that until then.
    ///
    /// # Errors
    /// Where the connection ended, or was ended, without one.
    pub(in crate::ingress) async fn admit(
        &self,
        tcp: TcpStream,
    ) -> io::Result<(Guarded, Option<SocketAddr>)> {
        let mut place = self.places.take();
        let opened = tokio::select! {
            biased;
            opened = self.open(tcp, &mut place) => opened?,
            () = self.stop.notified() => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let Opened { transport, peer, client } = opened;
        let mut guarded = Guarded::new(transport, Arc::clone(&self.rules), peer.ip().to_canonical(), place);
        client.into_iter().for_each(|client| guarded.state().shown(client));
        let begun = tokio::select! {
            biased;
            begun = poll_fn(|cx| guarded.poll_first(cx)) => begun,
            () = self.stop.notified() => false,
        };
        if begun { Ok((guarded, Some(peer))) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Who calls, and over what.
    async fn open(&self, mut tcp: TcpStream, place: &mut Place) -> io::Result<Opened> {
        let mut peer = tcp.peer_addr()?;
        let trusted = self.live.load().trusted_proxies.contains(peer.ip().to_canonical());
        if self.rules.limits.proxy_protocol {
            if !trusted {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            let told = tokio::select! {
                biased;
                told = proxy::read(&mut tcp) => told?,
                () = self.late(place) => return Err(io::ErrorKind::TimedOut.into()),
            };
            peer = told.unwrap_or(peer);
        }
        let counted = !trusted || self.rules.limits.proxy_protocol;
        if counted && !place.belongs_to(peer.ip().to_canonical()) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let Some(tls) = &self.tls else {
            return Ok(Opened { transport: Transport::Plain(tcp), peer, client: None });
        };
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let accepted = tls.accept(tcp, self.late(place)).await?.ok_or_else(ended)?;
        let transport = Transport::Tls(Box::new(accepted.stream));
        Ok(Opened { transport, peer, client: accepted.client })
    }

    /// Comes after as long as a head may take, and sooner while connections are short.
    async fn late(&self, place: &Place) {
        let mut timer = Timer::new(Arc::clone(&self.rules.clock), self.rules.limits.head_timeout);
        poll_fn(|cx| if timer.is_over(cx, place.is_in_a_crowd()) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }
}
