//! The sink for pipes and first steps: one line of JSON for each event.
//!
//! A message is confirmed once its line has been written and flushed; what the reader of the pipe does with it
//! is the reader's. Writing happens on a thread of its own, so that a reader that pauses holds up nobody else.
//! Never retries: after a failed write the sink stays ended, for nobody can say how much of the line was read.

use std::io::{self, Write};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Confirmation, Health, Message, Pending, Sink, State};
use crate::clock::Clock;
use crate::tasks;

/// Messages that wait for the writer, and the most it writes between two flushes.
const BATCH: usize = 64;

struct Request {
    message: Message,
    answer: oneshot::Sender<Confirmation>,
}

/// Writes events as NDJSON. Dropping it ends the writer after what it has taken.
pub struct Stdout {
    requests: mpsc::Sender<Request>,
    health: watch::Receiver<Health>,
}

impl Stdout {
    /// Starts the writing thread on `output`.
    ///
    /// # Errors
    /// Where the system refuses another thread.
    pub fn start(output: impl Write + Send + 'static, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (requests, mut queue) = mpsc::channel(BATCH);
        let (board, health) = watch::channel(Health { state: State::Connected, since: clock.now() });
        drop(tasks::thread("sink-stdout", move || {
            let failed = write_all(output, &mut queue);
            let last = Health { state: State::Closed, since: clock.now() };
            board.send_replace(last);
            refuse_rest(&mut queue, failed);
        })?);
        Ok(Self { requests, health })
    }
}

impl Sink for Stdout {
    #[expect(clippy::async_yields_async, reason = "a publish has two ends: taken, and confirmed")]
    fn publish(&self, message: Message) -> BoxFuture<'_, Pending> {
        async move {
            let (answer, outcome) = oneshot::channel();
            match self.requests.send(Request { message, answer }).await {
                Ok(()) => outcome.map(|told| told.unwrap_or_else(|_| ended())).boxed(),
                Err(_) => ready(not_sent("standard output is closed")).boxed(),
            }
        }
        .boxed()
    }

    fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    fn name(&self) -> &'static str {
        "stdout"
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        match self.health().state {
            State::Connected => ready(()).boxed(),
            _ => std::future::pending().boxed(),
        }
    }
}

fn ended() -> Confirmation {
    Confirmation::Unknown { cause: "the writer of standard output ended".to_owned() }
}

fn not_sent(cause: &str) -> Confirmation {
    Confirmation::NotSent { cause: cause.to_owned() }
}

/// Writes until nobody publishes any longer, or a write fails; then says why.
fn write_all(mut output: impl Write, queue: &mut mpsc::Receiver<Request>) -> Option<io::Error> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut lines = Vec::new();
    while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
        lines.clear();
        batch.retain(|request| !request.answer.is_closed());
        for request in &batch {
            line(&request.message, &mut lines);
        }
        let written = output.write_all(&lines).and_then(|()| output.flush());
        let outcome = match &written {
            Ok(()) => Confirmation::Confirmed,
            // A closed pipe has no reader to have read a part of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => not_sent("standard output is closed"),
            Err(error) => Confirmation::Unknown { cause: format!("standard output: {error}") },
        };
        for request in batch.drain(..) {
            // Whoever dropped the other end does not want to know.
            drop(request.answer.send(outcome.clone()));
        }
        if let Err(error) = written {
            tracing::error!(%error, "stdout: cannot write");
            return Some(error);
        }
    }
    None
}

fn refuse_rest(queue: &mut mpsc::Receiver<Request>, failed: Option<io::Error>) {
    let cause =
        failed.map_or_else(|| "the sink was closed".to_owned(), |error| format!("standard output: {error}"));
    queue.close();
    while let Some(request) = queue.blocking_recv() {
        drop(request.answer.send(not_sent(&cause)));
    }
}

/// Appends one event as one line.
fn line(message: &Message, lines: &mut Vec<u8>) {
    lines.extend_from_slice(Value::Object(message.to_json()).to_string().as_bytes());
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;
    use crate::clock::{Manual, Timestamp};
    use crate::sink::publish::tests::{envelope, message};

    /// Collects what is written; `flushed` is how much of it was flushed.
    #[derive(Clone, Default)]
    struct Pipe(Arc<(Mutex<Inside>, Condvar)>);

    #[derive(Default)]
    struct Inside {
        written: Vec<u8>,
        flushed: usize,
        fail: Option<io::ErrorKind>,
        held: bool,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.0.lock().unwrap();
            while state.held {
                state = self.0.1.wait(state).unwrap();
            }
            if let Some(kind) = state.fail {
                return Err(kind.into());
            }
            state.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let mut state = self.0.0.lock().unwrap();
            state.flushed = state.written.len();
            Ok(())
        }
    }

    impl Pipe {
        fn change(&self, change: impl FnOnce(&mut Inside)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }
    }

    fn start(pipe: &Pipe) -> Stdout {
        Stdout::start(pipe.clone(), Arc::new(Manual::at(Timestamp::from_seconds(1)))).unwrap()
    }

    #[tokio::test]
    async fn one_line_for_each_event_in_order_flushed_before_it_counts() {
        let pipe = Pipe::default();
        let sink = start(&pipe);
        sink.ready().await;
        for body in [&b"{\"a\":\n1}"[..], b"\xff\x00"] {
            assert_eq!(sink.publish(message(envelope(), body)).await.await, Confirmation::Confirmed);
            let state = pipe.0.0.lock().unwrap();
            assert_eq!(state.flushed, state.written.len(), "a confirm means that it was flushed");
        }
        let written = String::from_utf8(pipe.0.0.lock().unwrap().written.clone()).unwrap();
        let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message_id"], "ab".repeat(32));
        assert_eq!(lines[0]["routing_key"], "shop.orders_create");
        assert_eq!(lines[0]["type"], "orders/Create");
        assert_eq!(lines[0]["timestamp"], 1_795_219_200);
        assert_eq!(lines[0]["content_type"], "application/json");
        assert_eq!(lines[0]["headers"]["hookgate-sequence"], 7);
        assert_eq!(lines[0]["headers"]["http-x-shop"], "a.example");
        assert_eq!(lines[0]["body"], "{\"a\":\n1}");
        assert_eq!(lines[1]["body_base64"], "/wA=");
        assert!(lines[1].get("body").is_none());
    }

    #[tokio::test]
    async fn a_closed_pipe_takes_nothing_and_shows() {
        let pipe = Pipe::default();
        pipe.change(|state| state.fail = Some(io::ErrorKind::BrokenPipe));
        let sink = start(&pipe);
        for _ in 0..3 {
            let outcome = sink.publish(message(envelope(), b"{}")).await.await;
            assert!(matches!(outcome, Confirmation::NotSent { .. }), "{outcome:?}");
        }
        assert_eq!(sink.health().state, State::Closed);
        assert!(sink.ready().now_or_never().is_none());
    }

    #[tokio::test]
    async fn another_failure_leaves_it_open_whether_the_line_was_read() {
        let pipe = Pipe::default();
        pipe.change(|state| state.fail = Some(io::ErrorKind::StorageFull));
        let outcome = start(&pipe).publish(message(envelope(), b"{}")).await.await;
        assert!(matches!(outcome, Confirmation::Unknown { .. }), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_reader_that_pauses_stops_the_intake_at_a_bound() {
        let pipe = Pipe::default();
        pipe.change(|state| state.held = true);
        let sink = start(&pipe);
        let mut taken = Vec::new();
        while let Ok(pending) = tokio::time::timeout(
            std::time::Duration::from_millis(200),
            sink.publish(message(envelope(), b"")),
        )
        .await
        {
            taken.push(pending);
            assert!(taken.len() <= 2 * BATCH, "unbounded");
        }
        pipe.change(|state| state.held = false);
        for pending in taken {
            assert_eq!(pending.await, Confirmation::Confirmed);
        }
    }
}
