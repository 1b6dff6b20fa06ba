//! The properties that the readers of a journal's bytes hold over any bytes, the checksums aside: what is read is written
//! back as it was. In tests and under the feature `fuzzing` only.

use bytes::Bytes;

use super::segment::{HEADER, Header};
use super::{envelope, record};

/// A segment's header, and the heads of frames, under checksums that hold.
pub fn read_back(data: &[u8]) {
    let Some((&kind, head)) = data.split_first() else { return };
    match kind % 4 {
        0 => header(head),
        1 => marks(head),
        2 => watermarks(head),
        _ => event(head),
    }
}

fn header(data: &[u8]) {
    let mut bytes = [0; HEADER as usize];
    let taken = data.len().min(60);
    bytes[..taken].copy_from_slice(&data[..taken]);
    let check = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&check.to_le_bytes());
    if let Ok(Some(header)) = Header::decode(&bytes) {
        assert_eq!(Header::decode(&header.encode()), Ok(Some(header)));
    }
}

fn marks(head: &[u8]) {
    let Some(marks) = record::marks(head) else { return };
    let mut again = Vec::new();
    record::put_marks(&mut again, &marks);
    assert_eq!(again, head);
}

fn watermarks(head: &[u8]) {
    let Some(lines) = record::watermarks(head) else { return };
    let mut again = Vec::new();
    lines.iter().for_each(|(source, through)| record::put_watermark(&mut again, source, *through));
    assert_eq!(again, head);
}

fn event(head: &[u8]) {
    let body = Bytes::from_static(b"{}");
    let (outline, summary) = (envelope::outline(head), envelope::summary(head).is_some());
    let Some(event) = envelope::event(head, body.clone()) else { return };
    assert!(outline.is_some_and(|outline| outline.source == &*event.envelope().source) && summary);
    let mut again = Vec::new();
    envelope::put(&mut again, &event);
    assert_eq!(again.len(), envelope::size(&event), "as long as it was said to be");
    assert_eq!(envelope::event(&again, body).as_ref(), Some(&event), "what was read is read again");
}
