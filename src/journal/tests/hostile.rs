//! Bytes that nobody of ours wrote: decoders and recovery take any, and never panic nor ask for more memory
//! than there are bytes. And what was written reads back equal, whatever is in it.

use proptest::prelude::*;

use super::super::envelope;
use super::super::record::{self, FRAME, Frame, Kind, Mark, Seal};
use super::super::segment::{self, HEADER, Header};
use super::super::walk::Walk;
use super::*;

const JOURNAL: [u8; 16] = *b"0123456789abcdef";

prop_compose! {
    fn facts()(
        texts in prop::array::uniform6(".{0,30}"),
        digests in prop::array::uniform3(any::<[u8; 32]>()),
        invalid in prop::option::of(".{0,30}"),
        headers in prop::collection::vec((".{0,12}", ".{0,40}"), 0..6),
        millis in any::<i64>(),
        bits in prop::array::uniform5(any::<bool>()),
    ) -> Envelope {
        let [source, provider, secret, event_id, event_type, content_type] = texts;
        let [message_id, content, twin] = digests.map(Digest);
        Envelope {
            source: source.into(),
            provider: provider.into(),
            keys: Keys { message_id, content: bits[0].then_some(content) },
            event_id,
            event_type,
            received_at: Timestamp::from_millis(millis),
            secret: secret.into(),
            content_type,
            headers,
            source_authenticated: bits[1],
            unauthenticated: bits[1] && bits[2],
            invalid,
            twin_of: bits[2].then_some(twin),
            held: bits[3],
            redelivery: bits[4],
        }
    }
}

fn split() -> impl Strategy<Value = Option<Split>> {
    let span = || (any::<u32>(), any::<u32>()).prop_map(|(a, b)| a.min(b)..a.max(b));
    let part = (any::<u32>(), span(), any::<[u8; 32]>(), ".{0,20}", ".{0,20}");
    let part = part.prop_map(|(index, span, id, event_id, event_type)| Part {
        index,
        span,
        message_id: Digest(id),
        event_id,
        event_type,
    });
    let split = (any::<u32>(), span(), any::<bool>(), prop::collection::vec(part, 1..5));
    let split = split.prop_map(|(elements, text, encoded, parts)| Split { elements, text, encoded, parts });
    prop::option::of(split)
}

/// Bytes of an envelope with some changed, or any bytes.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let damaged =
        (facts(), split(), prop::collection::vec((any::<usize>(), any::<u8>()), 0..4), any::<usize>());
    let damaged = damaged.prop_map(|(facts, split, changes, cut)| {
        let mut head = Vec::new();
        envelope::put(&mut head, &Event::restore(facts, Bytes::new()).in_parts(split));
        for (at, byte) in changes {
            let at = at % head.len();
            head[at] = byte;
        }
        head.truncate(head.len() - cut % 4 % head.len());
        head
    });
    prop_oneof![damaged, prop::collection::vec(any::<u8>(), 0..400)]
}

fn mark() -> impl Strategy<Value = Mark> {
    prop::sample::select(vec![
        Mark::Confirmed,
        Mark::Superseded,
        Mark::Dropped,
        Mark::Poisoned,
        Mark::Released,
    ])
}

/// A frame as an attacker with the journal's id would seal it: any kind, numbers and head.
type Forged = (u8, u8, u64, u64, Vec<u8>, Vec<u8>);

fn forged() -> impl Strategy<Value = Forged> {
    let number = || prop_oneof![0..40_u64, any::<u64>(), Just(u64::MAX), Just((1 << 56) - 1)];
    let words =
        prop::collection::vec(prop_oneof![number(), (1..6_u64).prop_map(|mark| mark << 56 | 3)], 0..6);
    let words = words.prop_map(|words| words.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<_>>());
    let moved = (words.clone(), heads()).prop_map(|(words, head)| [words, head].concat());
    let head = prop_oneof![heads(), words, moved];
    (0..7_u8, any::<u8>(), number(), number(), head, prop::collection::vec(any::<u8>(), 0..100))
}

fn seal_forged(frames: &[Forged], seal: Seal) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, flags, sequence, commit, head, body) in frames {
        let at = record::begin(&mut out, Kind::Event, *flags, Sequence(*sequence), *commit);
        out[at + 2] = *kind;
        out.extend_from_slice(head);
        record::finish(&mut out, at, body);
    }
    seal.close(&mut out, HEADER);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_envelope_reads_back_equal(facts in facts(), split in split(), body in prop::collection::vec(any::<u8>(), 0..99)) {
        let mut head = Vec::new();
        let event = Event::restore(facts.clone(), body.into()).in_parts(split);
        envelope::put(&mut head, &event);
        prop_assert_eq!(head.len(), envelope::size(&event));
        let outline = envelope::outline(&head).unwrap();
        prop_assert_eq!((outline.keys, outline.received_at), (facts.keys, facts.received_at));
        prop_assert_eq!(outline.source, &*facts.source);
        prop_assert_eq!(envelope::event(&head, event.body().clone()), Some(event));
    }

    #[test]
    fn no_bytes_upset_the_decoders(head in heads(), seed in any::<u32>()) {
        if let Some(event) = envelope::event(&head, Bytes::new()) {
            let facts = event.envelope();
            prop_assert!(facts.headers.capacity() <= head.len() / 8);
            prop_assert_eq!(envelope::size(&event), head.len());
        }
        envelope::outline(&head);
        prop_assert!(record::marks(&head).is_none_or(|marks| marks.len() * 8 == head.len()));
        prop_assert!(record::watermarks(&head).is_none_or(|lines| lines.len() * 12 <= head.len()));
        prop_assert_eq!(Frame::parse(&head, seed), None);
        prop_assert_eq!(Header::decode(&head), Ok(None));
    }

    #[test]
    fn marks_and_watermarks_read_back_equal(
        marks in prop::collection::vec((0..1_u64 << 56, mark()), 0..20),
        lines in prop::collection::vec((".{0,20}", any::<u64>()), 0..20),
    ) {
        let marks: Vec<_> = marks.into_iter().map(|(sequence, mark)| (Sequence(sequence), mark)).collect();
        let mut head = Vec::new();
        record::put_marks(&mut head, &marks);
        prop_assert_eq!(record::marks(&head), Some(marks));
        let lines: Vec<_> = lines.into_iter().map(|(name, at)| (Arc::<str>::from(name), Sequence(at))).collect();
        head.clear();
        lines.iter().for_each(|(name, through)| record::put_watermark(&mut head, name, *through));
        prop_assert_eq!(record::watermarks(&head), Some(lines));
    }

    #[test]
    fn a_frame_is_whole_only_where_it_was_written(
        head in prop::collection::vec(any::<u8>(), 0..60),
        body in prop::collection::vec(any::<u8>(), 0..60),
        bit in any::<usize>(),
        shift in 1..9_u64,
    ) {
        let (disk, path, seal) = (MemDisk::default(), PathBuf::from("/f"), Seal::of(&JOURNAL, 3));
        let mut frame = Vec::new();
        let at = record::begin(&mut frame, Kind::Event, record::HELD, Sequence(7), 9);
        frame.extend_from_slice(&head);
        record::finish(&mut frame, at, &body);
        seal.close(&mut frame, 0);
        let file = disk.create(&path).unwrap();
        disk.write_at(&file, &frame, 0).unwrap();
        let whole = |seal, len| Walk::new(&disk, &file, seal, len).whole(0).unwrap();
        let found = whole(seal, frame.len() as u64).unwrap();
        prop_assert_eq!((found.kind, found.flags, found.sequence, found.commit), (Kind::Event, 1, Sequence(7), 9));
        prop_assert_eq!((found.head as usize, found.body as usize), (head.len(), body.len()));
        prop_assert_eq!(whole(Seal::of(&JOURNAL, 4), frame.len() as u64), None, "another segment's");
        prop_assert!(whole(seal, found.content() - 1).is_none(), "cut");
        prop_assert!(Frame::parse(&frame, seal.at(shift * 8)).is_none(), "another place's");
        let bit = bit % (found.content() as usize * 8);
        disk.edit(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        prop_assert_eq!(whole(seal, frame.len() as u64), None, "one bit");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn recovery_takes_any_bytes_and_any_sealed_nonsense(
        forged in prop::collection::vec(forged(), 0..8),
        junk in prop::collection::vec(any::<u8>(), 0..300),
        (base, commit) in (prop_oneof![1..9_u64, any::<u64>()], prop_oneof![0..9_u64, any::<u64>()]),
        has_header in prop::bool::weighted(0.9),
    ) {
        let (disk, seal) = (MemDisk::default(), Seal::of(&JOURNAL, 1));
        let header = Header { journal: JOURNAL, number: 1, base: Sequence(base), commit, before: 0 };
        let header = if has_header { header.encode() } else { [7; HEADER as usize] };
        let bytes = [&header[..], &seal_forged(&forged, seal), &junk].concat();
        let digits = hex::encode(JOURNAL);
        let id = format!("{digits} {:08x}\n", crc32c::crc32c(digits.as_bytes()));
        for (path, bytes) in [(segment::path(&settings().dir, 1), &bytes), ("/journal/replica".into(), &id.into())] {
            let file = disk.create(&path).unwrap();
            disk.write_at(&file, bytes, 0).unwrap();
        }
        let written = bytes.len() as u64;
        let (mut journal, recovery) = open(&disk, &settings());
        let set_aside: u64 = recovery.damaged.iter().map(|report| report.bytes).sum();
        prop_assert!(set_aside + recovery.truncated_bytes <= written);
        let reader = journal.reader();
        for record in live(&reader, ALL) {
            // An envelope whose outline holds may still be none: that is told, not invented.
            drop(reader.read(record.sequence, record.position));
        }
        let one = event(1, "shop", 40, false);
        let sequence = append(&mut journal, &one);
        let commit = journal.commit().unwrap();
        prop_assert_eq!(reader.read(sequence, commit.appended[0].position).unwrap(), Some(one));
        journal.maintain(NOW, Sequence(0)).unwrap();
        drop(journal);
        let (journal, again) = open(&disk, &settings());
        prop_assert_eq!(again.damaged, vec![], "repaired once");
        prop_assert!(again.next_sequence > sequence && journal.reader().state(sequence).is_some());
    }
}

#[test]
fn a_head_that_claims_more_than_there_is_reserves_nothing() {
    let mut head = vec![0; 108 + 7 * 4];
    head[105..108].fill(0xFF);
    assert_eq!(envelope::event(&head, Bytes::new()), None);
    let mut frame = vec![0; FRAME];
    frame[..4].copy_from_slice(&[0xA7, 0x68, 1, 0]);
    frame[16..24].fill(0xFF);
    let disk = MemDisk::default();
    let file = disk.create(&PathBuf::from("/f")).unwrap();
    disk.write_at(&file, &frame, 0).unwrap();
    assert_eq!(Walk::new(&disk, &file, Seal::of(&JOURNAL, 1), FRAME as u64).frame(0).unwrap(), None);
}
