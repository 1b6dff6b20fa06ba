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

/// A call to the inbox, which may die meanwhile.
fn call(gateway: &Gateway, path: &str, body: &Value) -> Option<Value> {
    let path = format!("/v1/inbox/bulk/{path}");
    let json = [("content-type", "application/json")];
    let answer = Client::call(gateway.admin(), "POST", &path, &json, body.to_string().as_bytes())?;
    (answer.status == 200).then(|| answer.json())
}

/// Works and acknowledges until nothing comes any more, or the gateway dies; what was handed out, and whether marked.
fn work(gateway: &Gateway) -> Vec<(String, bool)> {
    let mut handed = Vec::new();
    while let Some(claimed) = call(gateway, "claim?max=4", &Value::Null) {
        let events: Vec<Handed> =
            claimed["events"].as_array().unwrap().iter().cloned().map(Handed::of).collect();
        if events.is_empty() {
            break;
        }
        for event in events {
            handed.push((String::from_utf8(event.body.clone()).unwrap(), event.possible_duplicate()));
            // Where there is no answer, the work is done all the same.
            drop(call(gateway, "ack", &serde_json::json!({ "tokens": [event.token] })));
        }
    }
    handed
}

#[test]
fn a_kill_at_a_lease_or_an_acknowledgement_loses_no_element() {
    for (point, passed) in [
        ("relay.lease.before", 5),
        ("relay.lease.after", 10),
        ("relay.ack.before", 7),
        ("relay.ack.after", 1),
    ] {
        let mut gateway = prepared(Setup::new().source("bulk", "bulk", SPLIT));
        gateway.change(|setup| setup.failpoint(point, &format!("{passed}*off->return")));
        gateway.start();
        let sent: Vec<String> =
            [9, 1, 14].iter().flat_map(|count| send(&gateway, &format!("b{count}"), *count)).collect();
        let mut handed = work(&gateway);
        until("it is killed there", SOON, || gateway.is_dead());
        gateway.ended();
        gateway.change(|setup| setup.env("FAILPOINTS", ""));
        gateway.start();
        let again = work(&gateway);
        println!("{point} after {passed}: {} handed out, then {}", handed.len(), again.len());
        assert!(!again.is_empty() && handed.len() + again.len() >= sent.len());
        handed.extend(again);
        let copies = copies(handed.iter().map(|(body, marked)| (body.as_bytes(), *marked)));
        let bodies: BTreeSet<&[u8]> = copies.keys().copied().collect();
        assert!(
            bodies == sent.iter().map(String::as_bytes).collect(),
            "{point}: every element, and no other"
        );
        assert!(copies.values().all(|(_, unmarked)| *unmarked <= 1), "{point}: an unmarked second hand-over");
        until("all records are done", SOON, || gateway.metric("hookgate_relay_pending", &[]) == 0.0);
        assert_eq!(gateway.run(&["events", "list", "--source", "bulk"]).status.code(), Some(0));
    }
}
