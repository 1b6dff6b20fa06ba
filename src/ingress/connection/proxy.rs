//! The PROXY protocol, version 2: whom a trusted proxy says it speaks for.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, 2.2. Version 1 is a line of text and has no
//! length in front; it is refused.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What every header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of the part that says how long the rest is.
const FIXED: usize = 16;
/// Longest rest that is read: addresses and what proxies add to them.
const REST_BYTES_MAX: usize = 4096;

/// Reads a header and nothing after it. None where the proxy speaks for itself, as in its health checks.
///
/// # Errors
/// Where the bytes are no such header, which no peer may go on after.
pub async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut fixed = [0; FIXED];
    io.read_exact(&mut fixed).await?;
    let [signature @ .., command, family, high, low] = &fixed;
    if signature != SIGNATURE {
        return Err(wrong("no header of the PROXY protocol, version 2"));
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > REST_BYTES_MAX {
        return Err(wrong("a header of the PROXY protocol of more than 4096 bytes"));
    }
    let mut rest = vec![0; length];
    io.read_exact(&mut rest).await?;
    match (command, family) {
        (0x20, _) => Ok(None),
        (0x21, 0x11) => v4(&rest).map(Some),
        (0x21, 0x21) => v6(&rest).map(Some),
        (0x21, _) => Err(wrong("a header of the PROXY protocol for something else than TCP")),
        _ => Err(wrong("a command of the PROXY protocol that is neither LOCAL nor PROXY")),
    }
}

fn v4(rest: &[u8]) -> io::Result<SocketAddr> {
    match rest {
        [a, b, c, d, _, _, _, _, high, low, _, _, ..] => {
            Ok(SocketAddr::from(([*a, *b, *c, *d], u16::from_be_bytes([*high, *low]))))
        }
        _ => Err(wrong("a header of the PROXY protocol that is shorter than its addresses")),
    }
}

fn v6(rest: &[u8]) -> io::Result<SocketAddr> {
    let (Some(address), Some([high, low, _, _])) = (rest.first_chunk::<16>(), rest.get(32..36)) else {
        return Err(wrong("a header of the PROXY protocol that is shorter than its addresses"));
    };
    Ok(SocketAddr::from((*address, u16::from_be_bytes([*high, *low]))))
}

fn wrong(detail: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: u8, family: u8, rest: &[u8], after: &[u8]) -> io::Result<(Option<SocketAddr>, Vec<u8>)> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        let bytes = [SIGNATURE.as_slice(), &[command, family], &length, rest, after].concat();
        let mut left = bytes.as_slice();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(read(&mut left))?;
        Ok((found, left.to_vec()))
    }

    #[test]
    fn the_address_is_that_of_the_header_and_nothing_after_it_is_read() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];
        let (found, left) = of(0x21, 0x11, &v4, b"GET").unwrap();
        assert_eq!((found, left.as_slice()), (Some("192.0.2.7:8080".parse().unwrap()), b"GET".as_slice()));
        let mut v6 = [0; 36 + 7];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        v6[33] = 9;
        assert_eq!(of(0x21, 0x21, &v6, b"").unwrap().0, Some("[2001:db8::7]:9".parse().unwrap()));
        assert_eq!(of(0x20, 0x00, b"", b"").unwrap().0, None);
    }

    #[test]
    fn anything_else_ends_the_connection() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];
        assert!(of(0x21, 0x11, &v4[..11], b"a").is_err());
        assert!(of(0x21, 0x21, &[0; 35], b"a").is_err());
        assert!(of(0x21, 0x21, &v4, b"").is_err());
        assert!(of(0x21, 0x12, &v4, b"").is_err());
        assert!(of(0x11, 0x11, &v4, b"").is_err());
        assert!(of(0x21, 0x11, &[0; REST_BYTES_MAX + 1], b"").is_err());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut text = b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n".as_slice();
        assert!(runtime.block_on(read(&mut text)).is_err());
    }
}
