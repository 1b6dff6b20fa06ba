//! Deliveries with several events at a source that splits: one record, and a message for each element, whole, in order
//! and once, through RabbitMQ and the inbox.
//!
//! `HOOKGATE_IT_BATCHES` makes the long run longer.

mod confirmed;
#[cfg(feature = "failpoints")]
mod kills;
mod worked;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::Value;

use crate::gateway::*;
use crate::load::{digest, drained, number, until_drained, with_rabbitmq};
use crate::scrape::Scrape;
use crate::services::{Drained, RabbitMq, connect};

const SOON: Duration = Duration::from_secs(20);

/// A provider that sends several events at once, in a JSON array or in a form's field.
const BULK: &str = r#"
name = "bulk"
title = "Bulk"
event = { id = "header:X-Batch", type = "json:/kind" }
batch = { each = "json:/items", id = "{item:/account}:{item:/id}", type = "item:/type" }
[[schemes]]
name = "json"
algorithm = "hmac-sha256"
signed = ["{header:X-Batch}.{body}"]
signature = { from = "header:X-Signature", encoding = "hex" }
[[schemes]]
name = "form"
algorithm = "hmac-sha256"
signed = ["{header:X-Batch}.{body}"]
signature = { from = "header:X-Signature", encoding = "hex" }
batch = { each = "form:events > json:", id = "item:/id", type = ["item:/type", { when = "item:/id", text = "untyped" }] }
"#;

/// A source that splits; its records fit into the fixture's segments.
const SPLIT: &str = "split = true\nbody_bytes_max = \"256KiB\"";

/// A gateway on that provider; not started.
fn prepared(setup: Setup) -> Gateway {
    let gateway = setup.set("providers", "dir = \"providers.d\"").prepare();
    fs::create_dir(gateway.path("providers.d")).unwrap();
    fs::write(gateway.path("providers.d/bulk.toml"), BULK).unwrap();
    gateway
}

/// The same, with a source `bulk` that splits, started and connected.
fn connected(setup: Setup) -> Gateway {
    let mut gateway = prepared(setup.source("bulk", "bulk", SPLIT));
    gateway.start();
    until("it is connected", SOON, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    gateway
}

/// The elements of a batch, with blanks and escapes that a reprint would lose.
fn elements(batch: &str, count: usize) -> Vec<String> {
    let one = |n: usize| {
        let kind = ["order.paid", "order.sent", "Order Lost"][n % 3];
        format!(
            "{{\"id\" : {n},  \"account\":\"{batch}\", \"type\":\"{kind}\", \"x\":\"\\u00e9 1.0e2 &=+%\"}}"
        )
    };
    (0..count).map(one).collect()
}

fn body(elements: &[String]) -> String {
    format!("{{\"kind\":\"batch\",\n \"items\" : [ {}\t]}}", elements.join(" ,\n "))
}

/// A request with that body, as the provider signs it.
fn signed(source: &str, batch: &str, body: &str) -> Signed {
    let signature = hex::encode(mac(&secret(source), &[batch.as_bytes(), b".", body.as_bytes()]));
    let signed = generic(source, body.as_bytes()).without("x-signature");
    signed.and("x-signature", &signature).and("x-batch", batch)
}

/// Sends a batch of so many elements, which must be kept, and returns them.
fn send(gateway: &Gateway, batch: &str, count: usize) -> Vec<String> {
    let elements = elements(batch, count);
    let answer = gateway.deliver(&signed("bulk", batch, &body(&elements)));
    assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"), "{}", answer.text());
    elements
}

/// How often each body came, and how often of that without a mark.
fn copies<'m>(messages: impl Iterator<Item = (&'m [u8], bool)>) -> BTreeMap<&'m [u8], (usize, usize)> {
    let mut copies = BTreeMap::new();
    for (body, marked) in messages {
        let (all, unmarked) = copies.entry(body).or_insert((0, 0));
        *all += 1;
        *unmarked += usize::from(!marked);
    }
    copies
}

fn is_marked(message: &Drained) -> bool {
    message.headers.contains_key("hookgate-possible-duplicate")
}

/// Every element came, without a mark at most once, and nothing else came.
fn all_came(sent: &[String], messages: &[Drained]) {
    let copies = copies(messages.iter().map(|message| (&*message.body, is_marked(message))));
    for element in sent {
        let (_, unmarked) = copies.get(element.as_bytes()).expect("every element comes out");
        assert!(*unmarked <= 1, "an unmarked second message of {element}");
    }
    assert_eq!(copies.len(), sent.iter().collect::<BTreeSet<_>>().len(), "nothing that nobody sent");
}

#[test]
fn every_element_is_a_message_of_its_own_whole_in_order_and_once() {
    let rounds = number("HOOKGATE_IT_BATCHES", 2);
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let setup = with_rabbitmq(&broker.url(&vhost)).set("sink", "max_in_flight = 64");
    let gateway = connected(setup);
    let (mut sent, mut records) = (Vec::new(), 0);
    for round in 0..rounds {
        for count in [1, 2, 7, 30, 63, 64, 65, 200] {
            let (batch, before) = (format!("b{round}_{count}"), sent.len());
            sent.extend(send(&gateway, &batch, count));
            let again = gateway.deliver(&signed("bulk", &batch, &body(&sent[before..])));
            assert_eq!(again.outcome(), "duplicate", "a copy of the delivery, as ever");
            records += 1;
        }
    }
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "bulk");
    let bodies: Vec<&[u8]> = messages.iter().map(|message| &*message.body).collect();
    assert_eq!(bodies, sent.iter().map(String::as_bytes).collect::<Vec<_>>(), "exact bytes, in order");
    let ids: BTreeSet<&str> = messages.iter().map(|message| message.message_id.as_str()).collect();
    assert_eq!(ids.len(), messages.len(), "each has an identity of its own");
    assert!(!messages.iter().any(is_marked));
    for message in &messages {
        let json: Value = serde_json::from_slice(&message.body).unwrap();
        let (id, kind) = (format!("{}:{}", json["account"].as_str().unwrap(), json["id"]), &json["type"]);
        assert_eq!(message.headers["hookgate-event-id"], id);
        assert_eq!(message.event_type, *kind.as_str().unwrap());
        assert_eq!(message.headers["hookgate-digest"], digest(&message.body));
        let of = json["account"].as_str().unwrap().split('_').nth(1).unwrap();
        assert_eq!(message.headers["hookgate-part"], format!("{}/{of}", json["id"].as_u64().unwrap() + 1));
        let key = format!("bulk.{}", kind.as_str().unwrap().to_lowercase().replace(' ', "_"));
        assert_eq!(message.routing_key, key);
    }
    let scrape = Scrape::read(&gateway.metrics());
    scrape.closes();
    assert_eq!(scrape.term("events_confirmed"), f64::from(records), "the account counts records");
    let published = gateway.metric("hookgate_published_total", &[("outcome", "confirmed")]);
    assert_eq!(published, sent.len() as f64, "and this counts messages");
}

#[test]
fn a_forms_elements_are_its_decoded_text_and_types_that_nobody_wants_are_left_out() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let lines = "body_bytes_max = \"256KiB\"\nsplit = true\nscheme = \"form\"\nevents = [\"order.sent\", \"untyped\"]";
    let mut gateway = prepared(with_rabbitmq(&broker.url(&vhost)).source("bulk", "bulk", lines));
    gateway.start();
    let mut items = elements("f", 4);
    items.push("{\"id\":\"é+%\"}".to_owned());
    let form = |items: &[String]| {
        let text = format!("[{}]", items.join(", "));
        let field: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        format!("a=1&events={field}&z=2")
    };
    assert_eq!(gateway.deliver(&signed("bulk", "1", &form(&items))).outcome(), "accepted");
    assert_eq!(gateway.deliver(&signed("bulk", "2", &form(&items[..1]))).outcome(), "filtered");
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "bulk");
    let bodies: Vec<&[u8]> = messages.iter().map(|message| &*message.body).collect();
    assert_eq!(bodies, [items[1].as_bytes(), items[4].as_bytes()]);
    let parts: Vec<&str> = messages.iter().map(|message| message.headers["hookgate-part"].as_str()).collect();
    assert_eq!(parts, ["2/5", "5/5"]);
    assert_eq!(
        (messages[1].event_type.as_str(), messages[1].content_type.as_str()),
        ("untyped", "application/json")
    );
}

#[test]
fn what_holds_no_array_goes_whole_and_is_counted() {
    let mut gateway = prepared(Setup::new().source("bulk", "bulk", SPLIT));
    gateway.start();
    let long = format!("{{\"items\":[{}]}}", vec!["1"; 1001].join(","));
    let bodies = ["{\"items\":[]}", "{\"items\":{}}", "{}", "no json", &long];
    for (n, body) in bodies.iter().enumerate() {
        assert_eq!(gateway.deliver(&signed("bulk", &n.to_string(), body)).outcome(), "accepted");
    }
    let whole = gateway.claim("bulk", 10);
    let texts: Vec<&[u8]> = whole.iter().map(|event| &*event.body).collect();
    assert_eq!(texts, bodies.map(str::as_bytes));
    assert!(whole.iter().all(|event| event.header("hookgate-part").is_empty()));
    assert_eq!(gateway.metric("hookgate_unsplit_total", &[("source", "bulk")]), bodies.len() as f64);
    assert!(gateway.stderr().contains("relayed whole"));
    let most = format!("{{\"items\":[{}]}}", vec!["1"; 1000].join(","));
    assert_eq!(gateway.deliver(&signed("bulk", "most", &most)).outcome(), "accepted");
    assert_eq!(gateway.claim("bulk", 1)[0].header("hookgate-part"), "1/1000");
}

#[test]
fn a_source_cannot_split_what_its_provider_sends_one_by_one() {
    let output = Setup::new().source("shop", "stripe", "split = true").run(&["check"]);
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("split") && said.contains("[batch]"), "{said}");
}

/// Binds a queue of the name that the gateway expects, for some types alone.
fn bind(broker: &RabbitMq, vhost: &str, types: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = connect(&broker.url(vhost)).await;
        let channel = connection.create_channel().await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare("webhooks.bulk".into(), durable, FieldTable::default()).await.unwrap();
        for key in types {
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            let key = format!("bulk.{key}");
            channel
                .queue_bind("webhooks.bulk".into(), "webhooks".into(), key.into(), options, none)
                .await
                .unwrap();
        }
        connection.close(200, "OK".into()).await.unwrap();
    });
}

#[test]
fn an_element_without_a_queue_waits_alone_and_none_of_the_others_comes_twice() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut gateway = connected(with_rabbitmq(&broker.url(&vhost)));
    gateway.change(|setup| setup.set("sink", "declare = false"));
    gateway.restart();
    until("it is connected", SOON, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    broker.rabbitmqctl(&["delete_queue", "-p", &vhost, "webhooks.bulk"]);
    bind(broker, &vhost, &["order.#"]);
    let mut sent = send(&gateway, "one", 30);
    sent.extend(send(&gateway, "two", 6));
    let unroutable = || gateway.metric("hookgate_relay_unroutable", &[("source", "bulk")]);
    until("both records wait", SOON, || unroutable() == 2.0);
    let mut messages = drained(broker, &vhost, "bulk");
    assert_eq!(messages.len(), 24, "all but those of the type that is bound nowhere");
    Scrape::read(&gateway.metrics()).closes();
    bind(broker, &vhost, &["order_lost"]);
    let told = gateway.run(&["events", "requeue", "--source", "bulk", "--output", "json"]);
    assert!(told.status.success());
    until_drained(&gateway);
    messages.extend(drained(broker, &vhost, "bulk"));
    assert_eq!(messages.len(), 36);
    assert!(!messages.iter().any(is_marked));
    all_came(&sent, &messages);
}
