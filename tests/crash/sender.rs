//! The sender: provider-like, on several connections, with a schedule of retries for what was not answered 2xx.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::events::{Event, SOURCES};
use crate::gateway::{Answer, Client};
use crate::ledger::{Kept, digest, message_id};
use crate::stage::Site;

/// How long a sender waits for an answer; providers wait 5 to 30 s.
const PATIENCE: Duration = Duration::from_secs(4);
/// After the first failure, the second, and so on; the last one again and again. Providers' minutes and hours.
const SCHEDULE: [u64; 5] = [50, 100, 250, 500, 1_000];
/// More events than that under way on one connection, and it begins no other.
const UNDER_WAY: usize = 200;

/// A delivery to come: when (ms of the stage), which event, how often it was tried, whether it is a copy on purpose.
type Task = Reverse<(u64, u32, usize, bool)>;

struct Sender<'a> {
    site: &'a Site<'a>,
    clients: Vec<Client>,
    tasks: BinaryHeap<Task>,
    begun: Instant,
}

/// Sends every `of`-th event from `number` on, until each is answered 2xx or given up.
pub fn run(site: &Site<'_>, number: u32, of: u32, rate: u32) {
    let clients = site.units.iter().map(|unit| Client::new(unit.address).within(PATIENCE)).collect();
    let mut sender = Sender { site, clients, tasks: BinaryHeap::new(), begun: Instant::now() };
    let pause = Duration::from_secs(1) * of / rate;
    let mut due = sender.begun + pause * number / of;
    let mut next = number;
    while !site.over_time() {
        let ready = sender.tasks.peek().is_some_and(|Reverse((at, ..))| *at <= sender.now());
        if ready {
            let Some(Reverse((_, event, tries, copy))) = sender.tasks.pop() else { continue };
            sender.deliver(event, tries, copy);
        } else if next < site.stage.events && due <= Instant::now() && sender.tasks.len() < UNDER_WAY {
            sender.deliver(next, 0, false);
            next += of;
            // What was missed is caught up with, but not all at once.
            due = (due + pause).max(Instant::now() - pause * 20);
        } else if next >= site.stage.events && sender.tasks.is_empty() {
            return;
        } else {
            sleep(Duration::from_millis(1));
        }
    }
    if next < site.stage.events || !sender.tasks.is_empty() {
        let waiting = sender.tasks.len();
        site.stuck(format!("sender {number} ended with {waiting} deliveries unanswered and {next} to come"));
    }
}

impl Sender<'_> {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    fn later(&mut self, wait: u64, task: (u32, usize, bool)) {
        self.tasks.push(Reverse((self.now() + wait, task.0, task.1, task.2)));
    }

    /// One delivery and what follows from its answer.
    fn deliver(&mut self, index: u32, tries: usize, copy: bool) {
        let site = self.site;
        let event = Event::of(site.seed, site.stage.number, index);
        let gateway = (index as usize / 7 + tries + usize::from(copy)) % self.clients.len();
        let signed = event.signed();
        if tries == 0 && !copy {
            site.ledger.lock().unwrap().sends(index, digest(&event.body));
        }
        let answer = if event.cut && tries == 0 && !copy {
            self.clients[gateway].abandon(&signed);
            None
        } else {
            self.clients[gateway].try_deliver(&signed)
        };
        site.tally.answered(answer.as_ref().map(|answer| answer.status), copy);
        if answer.as_ref().is_some_and(|answer| answer.status / 100 == 2) {
            self.kept(index, &event, (gateway, copy), &answer.unwrap_or_else(|| unreachable!()));
            return;
        }
        answer.iter().for_each(|answer| self.is_allowed(index, answer));
        if copy {
            return;
        }
        if SOURCES[event.source].retries {
            self.later(SCHEDULE[tries.min(SCHEDULE.len() - 1)], (index, tries + 1, false));
        } else {
            site.progress.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn kept(&mut self, index: u32, event: &Event, (gateway, copy): (usize, bool), answer: &Answer) {
        let site = self.site;
        site.first_2xx(gateway);
        let mut notes = site.ledger.lock().unwrap();
        let Some(id) = message_id(&answer.message_id()) else {
            notes.wrong.push(format!("event {index}: a 2xx without a message id, {}", answer.text()));
            return;
        };
        notes.keeps(index, Kept { message_id: id, digest: digest(&event.body), at: site.now() });
        drop(notes);
        if copy {
            return;
        }
        site.progress.fetch_add(1, Ordering::SeqCst);
        if let Some(wait) = event.copy_after {
            self.later(wait.into(), (index, 0, true));
        }
    }

    /// None of these requests is at fault: what a network may do to them aside, only 5xx are honest.
    fn is_allowed(&self, index: u32, answer: &Answer) {
        // A request that was cut short or came too slowly.
        if answer.status / 100 == 4 && ![400, 408].contains(&answer.status) {
            let told = format!("event {index} was answered {} {}", answer.status, answer.text());
            self.site.ledger.lock().unwrap().wrong.push(told);
        }
    }
}
