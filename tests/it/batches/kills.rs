//! The gateway killed at every step between the first element's publish and the record's mark: no element is missing,
//! and none comes a second time without the mark.

use super::*;

/// Where it is killed, and how often that is passed before.
const KILLS: [(&str, usize); 8] = [
    ("relay.publish.before", 0),
    ("relay.publish.before", 45),
    ("relay.publish.after", 0),
    ("relay.publish.after", 77),
    ("relay.confirm.after", 0),
    ("relay.confirm.after", 33),
    ("relay.mark.before", 1),
    ("relay.mark.after", 1),
];

#[test]
fn a_kill_between_the_elements_loses_none_and_doubles_none_without_a_mark() {
    let broker = RabbitMq::shared();
    for (point, passed) in KILLS {
        let vhost = broker.vhost();
        let setup = with_rabbitmq(&broker.url(&vhost)).set("sink", "max_in_flight = 16");
        let setup = setup.failpoint("relay.raise.before", "pause");
        let mut gateway = connected(setup);
        // Nothing is published until all is kept, and no watermark says that it might have been.
        let counts = [1, 40, 2, 60, 7];
        let sent: Vec<String> =
            counts.iter().flat_map(|count| send(&gateway, &format!("{point}_{count}"), *count)).collect();
        gateway.kill();
        gateway.change(|setup| setup.env("FAILPOINTS", &format!("{point}={passed}*off->return")));
        gateway.launch();
        until("it is killed there", SOON, || gateway.is_dead());
        gateway.ended();
        gateway.change(|setup| setup.env("FAILPOINTS", ""));
        gateway.start();
        until_drained(&gateway);
        let messages = drained(broker, &vhost, "bulk");
        all_came(&sent, &messages);
        let unmarked = messages.iter().filter(|message| !is_marked(message)).count();
        println!(
            "{point} after {passed}: {} messages for {} elements, {unmarked} unmarked",
            messages.len(),
            sent.len()
        );
        // Nothing beyond what was in flight, or confirmed of a record without its mark, is there twice.
        let twice = messages.len() - sent.len();
        assert!(twice <= 16 + 60, "{twice}");
        Scrape::read(&gateway.metrics()).closes();
    }
}
