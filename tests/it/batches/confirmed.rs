//! Confirm mode: a batch is answered 2xx once all its elements are confirmed, and an attempt of which some arrived is
//! followed by one whose elements carry the mark.

use super::*;
use crate::services::Redis;

#[test]
fn a_2xx_means_all_elements_and_what_may_have_arrived_comes_again_marked() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let setup = with_rabbitmq(&broker.url(&vhost))
        .env("REDIS_URL", &redis.url())
        .set("sink", "max_in_flight = 8")
        .set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }\nwindow = \"7d\"")
        .set("journal", "ack = \"confirm\"");
    let mut gateway = connected(setup);
    let whole = send(&gateway, "whole", 50);
    let again = gateway.deliver(&signed("bulk", "whole", &body(&whole)));
    assert_eq!(again.outcome(), "duplicate");
    let messages = drained(broker, &vhost, "bulk");
    let bodies: Vec<&[u8]> = messages.iter().map(|message| &*message.body).collect();
    assert_eq!(bodies, whole.iter().map(String::as_bytes).collect::<Vec<_>>(), "in order, and once");
    assert!(!messages.iter().any(is_marked));

    gateway.change(|setup| setup.set("sink", "declare = false"));
    gateway.restart();
    until("it is connected", SOON, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    broker.rabbitmqctl(&["delete_queue", "-p", &vhost, "webhooks.bulk"]);
    bind(broker, &vhost, &["order.#"]);
    let half = elements("half", 6);
    let delivery = signed("bulk", "half", &body(&half));
    assert_eq!(gateway.deliver(&delivery).status, 503, "two of them have no queue");
    bind(broker, &vhost, &["order_lost"]);
    until("the sender's next attempt is accepted", SOON, || gateway.deliver(&delivery).status == 200);
    let messages = drained(broker, &vhost, "bulk");
    assert_eq!(messages.len(), 10, "four arrived at first, and all six then");
    assert_eq!(messages.iter().filter(|message| is_marked(message)).count(), 6);
    all_came(&half, &messages);
}
