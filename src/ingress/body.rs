//! The body's exact bytes, under a byte limit and a deadline. Nothing is decoded.

use std::time::Duration;

use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use crate::reject::{Refused, Reject};

/// Reads the whole body; one that came in one piece is not copied.
///
/// # Errors
/// `BodyTooLarge` as soon as that is known, `BodyTooSlow`, `BodyIncomplete`.
pub(super) async fn read(
    payload: &mut Payload,
    declared: Option<u64>,
    bytes_max: usize,
    deadline: Duration,
) -> Result<Bytes, Refused> {
    if declared.is_some_and(|declared| declared > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    tokio::time::timeout(deadline, collect(payload, bytes_max))
        .await
        .map_err(|_| Reject::BodyTooSlow.because(format!("not complete after {} ms", deadline.as_millis())))?
}

async fn collect(payload: &mut Payload, bytes_max: usize) -> Result<Bytes, Refused> {
    let Some(first) = next(payload).await? else { return Ok(Bytes::new()) };
    if first.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    let Some(second) = next(payload).await? else { return Ok(first) };
    let mut whole = BytesMut::from(&*first);
    let mut chunk = second;
    loop {
        if whole.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        whole.extend_from_slice(&chunk);
        match next(payload).await? {
            Some(more) => chunk = more,
            None => return Ok(whole.freeze()),
        }
    }
}

async fn next(payload: &mut Payload) -> Result<Option<Bytes>, Refused> {
    let broken =
        |_| Reject::BodyIncomplete.because("the connection or the framing broke before the body's end");
    payload.next().await.transpose().map_err(broken)
}

fn too_large(bytes_max: usize) -> Refused {
    Reject::BodyTooLarge.because(format!("more than body_bytes_max = {bytes_max}"))
}
