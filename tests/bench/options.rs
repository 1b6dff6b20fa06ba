//! The command line of the load generator.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Sends signed webhooks to a gateway on this machine and measures the answers.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub struct Options {
    /// Where to send: http://127.0.0.1:PORT/path, loopback only
    #[arg(long, value_parser = target)]
    pub url: Target,
    /// Whose events and signatures to make
    #[arg(long, value_enum, default_value_t = Provider::Stripe)]
    pub provider: Provider,
    /// The shared secret, used as text
    #[arg(long, default_value = "")]
    pub secret: String,
    /// Connections kept open; each carries one request at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    pub connections: u16,
    /// Spreads the events over so many paths: that of --url with 0, 1, 2… behind it; one takes it as it is
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub paths: u32,
    /// Requests per second, due at even times whatever the answers do (open loop); without it, each
    /// answer starts the next request (closed loop)
    #[arg(long, value_parser = positive)]
    pub rate: Option<f64>,
    /// Open loop: takes the connection that has been idle for longest, so that all of them carry requests
    #[arg(long, requires = "rate")]
    pub rotate: bool,
    /// Measured seconds; 10, or no end where --count is given
    #[arg(long, value_parser = positive)]
    pub duration: Option<f64>,
    /// Seconds of load before the measurement begins
    #[arg(long, default_value_t = 0.0, value_parser = not_negative)]
    pub warmup: f64,
    /// Ends after this many requests, those of the warm-up included
    #[arg(long)]
    pub count: Option<u64>,
    /// Share of requests that repeat one of the last 10,000 events, signed anew
    #[arg(long, default_value_t = 0.0, value_parser = fraction)]
    pub dup_fraction: f64,
    /// Share of requests with one bit of the signature wrong
    #[arg(long, default_value_t = 0.0, value_parser = fraction)]
    pub bad_fraction: f64,
    /// Bytes of each body, reached by filling a text field
    #[arg(long, default_value_t = 1500)]
    pub body_bytes: usize,
    /// Seconds to wait for one answer
    #[arg(long, default_value_t = 30.0, value_parser = positive)]
    pub timeout: f64,
    /// Writes the id of each 2xx here, one a line (a duplicate's again)
    #[arg(long)]
    pub acked: Option<PathBuf>,
    /// Makes the ids repeatable; without it they differ from run to run
    #[arg(long)]
    pub id_seed: Option<u32>,
}

/// What is sent and how it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// `Stripe-Signature: t=…,v1=…` over time and body
    Stripe,
    /// `X-Hub-Signature-256` over the body
    Github,
    /// `X-Shopify-Hmac-Sha256`, base64, over the body
    Shopify,
    /// Stripe's body without a signature
    None,
}

/// A loopback address with the host and path that go into the request.
#[derive(Clone, Debug)]
pub struct Target {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
}

fn target(url: &str) -> Result<Target, String> {
    let rest = url.strip_prefix("http://").ok_or("must begin with http://")?;
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let address: SocketAddr = host
        .replace("localhost", "127.0.0.1")
        .parse()
        .map_err(|_| format!("`{host}` is no address with a port, as in 127.0.0.1:8080"))?;
    if !address.ip().is_loopback() {
        return Err(format!("{address} is not a loopback address; this tool loads no other machine"));
    }
    Ok(Target { address, host: host.to_owned(), path: path.to_owned() })
}

fn number(text: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| "must be a number".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    number(text).and_then(|n| if n > 0.0 { Ok(n) } else { Err("must be more than 0".to_owned()) })
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text).and_then(|n| if n >= 0.0 { Ok(n) } else { Err("must be 0 or more".to_owned()) })
}

fn fraction(text: &str) -> Result<f64, String> {
    let inside = |n: f64| if (0.0..=1.0).contains(&n) { Ok(n) } else { Err("must be 0 to 1".to_owned()) };
    number(text).and_then(inside)
}
