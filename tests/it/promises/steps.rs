//! Steps that several promises share: deliveries nobody waits for, what a queue holds, copies counted.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::gateway::{Answer, Client, Gateway, Signed, stripe, stripe_event, until};
use crate::services::{Drained, RabbitMq, connect};

/// The header of what may have been delivered before.
const MARK: &str = "hookgate-possible-duplicate";
/// Nothing in these tests takes longer to begin.
pub(super) const SOON: Duration = Duration::from_secs(20);
/// How soon a proxy's idle connections notice a change of its mode.
pub(super) const NOTICE: Duration = Duration::from_millis(50);

/// An event of the source `shop`.
pub(super) fn event(id: &str) -> Signed {
    stripe("shop", &stripe_event(id))
}

/// The outcome that the sender of an event reads; it must have been answered 2xx.
pub(super) fn outcome(gateway: &Gateway, id: &str) -> String {
    accepted(&gateway.deliver(&event(id)))
}

/// The outcome in an answer that must be a 2xx.
pub(super) fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.outcome()
}

/// Sends an event and reads no answer; the connection lives as long as the value.
pub(super) fn unread(gateway: &Gateway, id: &str) -> Client {
    let signed = event(id);
    let mut sender = Client::new(gateway.ingress());
    let (signature, length) = (signed.header("stripe-signature"), signed.body.len());
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nstripe-signature: {signature}\r\ncontent-length: {length}\r\n\r\n",
        signed.path
    );
    sender.send(&[head.as_bytes(), &signed.body].concat());
    sender
}

/// Whether the bytes of an event have been written into the journal, synced or not.
pub(super) fn is_written(gateway: &Gateway, id: &str) -> bool {
    let files = fs::read_dir(gateway.journal()).unwrap().map(|entry| entry.unwrap().path());
    let has = |bytes: Vec<u8>| bytes.windows(id.len()).any(|window| window == id.as_bytes());
    files.filter(|path| path.is_file()).any(|path| has(fs::read(path).unwrap()))
}

/// Waits until the gateway has the broker.
pub(super) fn is_connected(gateway: &Gateway) {
    until("it is connected", SOON, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
}

/// How many messages wait in the queue of a source.
pub(super) fn waiting(broker: &RabbitMq, vhost: &str, source: &str) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = connect(&broker.url(vhost)).await;
        let channel = connection.create_channel().await.unwrap();
        let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
        let name = format!("webhooks.{source}");
        let queue = channel.queue_declare(name.into(), passive, Default::default()).await.unwrap();
        let count = queue.message_count();
        connection.close(200, "OK".into()).await.unwrap();
        usize::try_from(count).unwrap()
    })
}

/// Waits until that many messages are in the queue of a source.
pub(super) fn until_waiting(broker: &RabbitMq, vhost: &str, source: &str, count: usize) {
    until("they are in the queue", SOON, || waiting(broker, vhost, source) >= count);
}

/// How many messages there are of each event, and how many of these are marked.
pub(super) fn copies(messages: &[Drained]) -> BTreeMap<&str, (usize, usize)> {
    let mut copies = BTreeMap::new();
    for message in messages {
        let (all, marked) = copies.entry(message.message_id.as_str()).or_default();
        *all += 1;
        *marked += usize::from(message.headers.contains_key(MARK));
    }
    copies
}

/// How many messages there are, and how many of them are marked.
pub(super) fn counted(messages: &[Drained]) -> (usize, usize) {
    let marked = messages.iter().filter(|message| message.headers.contains_key(MARK));
    (messages.len(), marked.count())
}
