//! What rests on Redis's own clock: leases and signs of life, when that clock steps.
//!
//! A step of its clock by an hour is, to whoever compares with it, a step of everything that was noted by it the other
//! way. So that is what is done, in one step of Redis: its own clock cannot be set apart from the machine's.

use std::time::Duration;

use super::ask;
use super::pair::{Ack, Copies, Pair, audit, in_both_modes};
use crate::gateway::until;
use crate::services::Redis;

/// Moves the ends of all keys and leases by `ARGV[1]` milliseconds.
const MOVE: &str = "
for _, key in ipairs(redis.call('KEYS', 'hookgate:*')) do
  local left = redis.call('PTTL', key)
  local held = redis.call('GET', key)
  local ends = string.match(held, '^claimed %x+ lease (%d+) ')
  if ends then
    local moved = string.format('%.0f', math.max(0, ends + ARGV[1]))
    held = string.gsub(held, ' lease %d+ ', ' lease ' .. moved .. ' ', 1)
    redis.call('SET', key, held, 'KEEPTTL')
  end
  redis.call('PEXPIRE', key, math.max(1, left + ARGV[1]))
end
return redis.call('DBSIZE')";

/// Redis's clock steps by so many seconds.
fn step(redis: &Redis, seconds: i64) {
    let _: i64 = ask(redis, &["EVAL", MOVE, "0", &(-1000 * seconds).to_string()]);
}

fn steps(ack: Ack) {
    let redis = Redis::start();
    // Longer than it takes to say again that one lives.
    let pair = Pair::with(ack, &redis, |_, setup| setup.set("dedup", "takeover_after = \"15s\""));
    let copies = Copies::to(pair.addresses(), "steps", 300).pausing(Duration::from_millis(10));
    let book = copies.during(|| {
        for seconds in [3600, -3600, -3600, 7200, -3600] {
            copies.more(50);
            step(&redis, seconds);
        }
        copies.more(50);
    });
    let out = audit(&book, &pair.messages());
    assert!(out.all - book.kept.len() <= 5 * 16, "a step forward may end what was in flight: {out:?}");
}

#[test]
fn steps_of_redis_clock_lose_and_double_nothing() {
    in_both_modes(steps);
}

/// Redis's clock goes an hour back after a replica was killed that holds a claim: what was to end soon by that clock
/// would last for the hour.
fn killed_before_a_step_back(ack: Ack) {
    let point = match ack {
        Ack::Journal => "redis.claim.after",
        Ack::Confirm => "confirm.claim.after",
    };
    let redis = Redis::start();
    let mut pair = Pair::with(ack, &redis, |number, setup| match number {
        0 => setup.env("FAILPOINTS", &format!("{point}=4*off->return")),
        _ => setup,
    });
    let addresses = pair.addresses();
    let [killed, steady] = &mut pair.gateways;
    let copies = Copies::to([addresses[1]; 2], "other", 40);
    let first = Copies::to(addresses, "back", 40);
    let book = first.during(|| {
        assert_eq!(killed.ended().0, None, "killed at {point}");
        step(&redis, -3600);
        let taken_over = || match ack {
            Ack::Journal => steady.metric("hookgate_relay_parked", &[]) == 0.0,
            Ack::Confirm => steady.metric("hookgate_claims_total", &[("result", "taken_over")]) > 0.0,
        };
        if ack == Ack::Journal {
            until("what it held is parked", Duration::from_secs(20), || !taken_over());
        }
        until("it is taken over within moments, not an hour", Duration::from_secs(25), taken_over);
        killed.change(|setup| setup.env("FAILPOINTS", ""));
        killed.start();
    });
    let out = audit(&book, &pair.messages());
    assert!(out.marked > 0, "{out:?}");
    let book = copies.during(|| ());
    assert_eq!(audit(&book, &pair.messages()).marked, 0);
}

#[test]
fn a_killed_replica_does_not_live_on_when_redis_clock_steps_back() {
    in_both_modes(killed_before_a_step_back);
}
