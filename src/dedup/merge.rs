//! Many sorted sections as one: the entries of several key files in ascending order, each key once. Reads
//! ahead in steps of 256 pages; checks every page. Runs on the background thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::keyfile::{self, Content, Key, Message, PAGE, Record};
use super::run::{Broken, Run, Section};
use crate::disk::Disk;

const AHEAD: u64 = 256;

/// The messages of all `runs`.
pub(super) fn messages<'a, D: Disk>(
    runs: impl Iterator<Item = &'a Run<D>>,
) -> impl Iterator<Item = Result<Message, Broken>> {
    Merged::new(runs.map(|run| Cursor::new(run, &run.messages)).collect())
}

/// The contents of all `runs`.
pub(super) fn contents<'a, D: Disk>(
    runs: impl Iterator<Item = &'a Run<D>>,
) -> impl Iterator<Item = Result<Content, Broken>> {
    Merged::new(runs.map(|run| Cursor::new(run, &run.contents)).collect())
}

/// Walks through one section.
struct Cursor<'a, D: Disk, R> {
    run: &'a Run<D>,
    section: &'a Section,
    next_page: u64,
    buffer: Vec<R>,
    next: usize,
}

impl<'a, D: Disk, R: Record> Cursor<'a, D, R> {
    fn new(run: &'a Run<D>, section: &'a Section) -> Self {
        Self { run, section, next_page: 0, buffer: Vec::new(), next: 0 }
    }

    fn next(&mut self) -> Result<Option<R>, Broken> {
        if self.next == self.buffer.len() {
            self.refill()?;
        }
        let record = self.buffer.get(self.next).copied();
        self.next += 1;
        Ok(record)
    }

    fn refill(&mut self) -> Result<(), Broken> {
        self.next = 0;
        self.buffer.clear();
        let pages = (self.section.fences.len() as u64 - self.next_page).min(AHEAD);
        let first = self.section.first_page + self.next_page;
        let mut bytes = vec![0; pages as usize * PAGE];
        self.run.disk.read_at(&self.run.file, &mut bytes, first * PAGE as u64)?;
        let (read, _) = bytes.as_chunks::<PAGE>();
        for (number, page) in (first..).zip(read) {
            let entries = keyfile::entries::<R>(page, number).map_err(Broken::Damaged)?;
            let base = self.run.header.base();
            self.buffer.extend(entries.chunks_exact(R::STRIDE).map(|entry| R::decode(entry, base)));
        }
        self.next_page += pages;
        Ok(())
    }
}

/// The cursors' entries in order; after an error, nothing.
struct Merged<'a, D: Disk, R> {
    cursors: Vec<Cursor<'a, D, R>>,
    heads: Vec<Option<R>>,
    order: BinaryHeap<Reverse<(Key, usize)>>,
    failed: Option<Broken>,
}

impl<'a, D: Disk, R: Record> Merged<'a, D, R> {
    fn new(cursors: Vec<Cursor<'a, D, R>>) -> Self {
        let heads = vec![None; cursors.len()];
        let mut merged = Self { cursors, heads, order: BinaryHeap::new(), failed: None };
        for n in 0..merged.cursors.len() {
            merged.advance(n);
        }
        merged
    }

    fn advance(&mut self, n: usize) {
        match self.cursors[n].next() {
            Ok(head) => {
                self.heads[n] = head;
                self.order.extend(head.map(|record| Reverse((record.key(), n))));
            }
            Err(broken) => self.failed = Some(broken),
        }
    }

    fn pop(&mut self) -> Option<R> {
        let Reverse((_, n)) = self.order.pop()?;
        let record = self.heads[n].take();
        self.advance(n);
        record
    }
}

impl<D: Disk, R: Record> Iterator for Merged<'_, D, R> {
    type Item = Result<R, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = self.pop();
        while let (Some(first), Some(Reverse((key, _)))) = (record, self.order.peek())
            && first.key() == *key
        {
            record = self.pop().map(|second| first.joined(second));
        }
        if let Some(broken) = self.failed.take() {
            self.order.clear();
            return Some(Err(broken));
        }
        record.map(Ok)
    }
}
