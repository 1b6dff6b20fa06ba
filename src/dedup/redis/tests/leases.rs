//! Leases, by which the relays of several machines share the work.

use super::*;
use crate::event::Keys;

fn keys(n: u8, content: Option<u8>) -> Keys {
    Keys { message_id: id(n), content: content.map(id) }
}

fn ask(keys: &Keys, token: u64, lease: Duration) -> Ask<'_> {
    Ask { keys, token, lease, twins_max: 8, silent: None }
}

/// The lease that must have been made.
async fn leased(claims: &RedisClaims, ask: Ask<'_>) -> (Lease, Option<Digest>) {
    match claims.lease(ask).await.unwrap() {
        LeaseAnswer { leased: Leased::Mine(lease), twin_of } => (lease, twin_of),
        other => panic!("{other:?}"),
    }
}

/// In words what stands in the way of a lease.
async fn refused_lease(claims: &RedisClaims, ask: Ask<'_>) -> String {
    match claims.lease(ask).await.unwrap().leased {
        Leased::Mine(_) => "mine".to_owned(),
        Leased::Theirs(claimant) => whose(&claimant),
        Leased::Done(_) => "done".to_owned(),
        Leased::TooManyTwins => "too many".to_owned(),
    }
}

#[tokio::test]
async fn a_lease_is_exclusive_until_it_runs_out_and_is_then_taken_over_once() {
    let server = Server::start().await;
    let (one, two) = (server.claims(ONE), server.claims(TWO));
    let (keys, short, long) = (keys(1, None), Duration::from_millis(150), Duration::from_secs(60));
    let (lease, _) = leased(&one, ask(&keys, 1, short)).await;
    assert!(!lease.is_over());
    assert_eq!(refused_lease(&two, ask(&keys, 1, long)).await, "lease");
    assert_eq!(refused_lease(&one, ask(&keys, 2, long)).await, "lease", "nor is it the same replica's");
    assert_eq!(claimed(&two, &[id(1)]).await, ["lease"], "a relay waits as well");
    tokio::time::sleep(short * 2).await;
    assert_eq!(claimed(&two, &[id(1)]).await, ["lease run out"]);
    let three = server.claims(THREE);
    let racing = (0..40).map(|n| {
        let (claims, keys) = (if n % 2 == 0 { two.clone() } else { three.clone() }, keys);
        crate::tasks::task(async move { claims.lease(ask(&keys, n, long)).await.unwrap().leased })
    });
    let mut over = 0;
    for racer in racing.collect::<Vec<_>>() {
        if let Leased::Mine(lease) = racer.await.unwrap() {
            assert!(lease.is_over());
            over += 1;
        }
    }
    assert_eq!(over, 1);
    one.release(&lease, true).await.unwrap();
    assert_eq!(refused_lease(&one, ask(&keys, 3, long)).await, "lease", "a lost lease gives nothing back");
    one.finish(&[id(1)]).await.unwrap();
    assert_eq!(refused_lease(&two, ask(&keys, 9, long)).await, "done");
    assert!(matches!(two.look(&id(1)).await.unwrap(), Some(Leased::Done(_))));
}

#[tokio::test]
async fn a_lease_from_before_redis_clock_stepped_back_is_cut_and_its_holder_still_ends_it() {
    let server = Server::start().await;
    let (one, two) = (server.claims(ONE), server.claims(TWO));
    let (short, hour) = (Duration::from_millis(200), Duration::from_secs(3_600));
    for (n, over) in [(1, ""), (2, " over")] {
        // As Redis holds it whose clock was an hour ahead when it was made.
        let ends = Clock::now(&System::new()).plus(hour).millis();
        let value = format!("claimed {ONE} lease {ends} 7{over}");
        let _: () = server.raw(&["SET", &name(n), &value, "PX", "600000"]).await;
        assert_eq!(refused_lease(&two, ask(&keys(n, None), 1, hour)).await, "lease");
        assert_eq!(
            server.raw::<String>(&["GET", &name(n)]).await,
            value,
            "not longer than an asker's may be"
        );
        assert_eq!(refused_lease(&two, ask(&keys(n, None), 2, short)).await, "lease");
        let cut: String = server.raw(&["GET", &name(n)]).await;
        assert!(
            cut.starts_with(&format!("claimed {ONE} lease ")) && cut.ends_with(&format!(" 7{over}")),
            "{cut}"
        );
        assert!((599_000..=600_000).contains(&server.raw::<i64>(&["PTTL", &name(n)]).await));
    }
    tokio::time::sleep(short * 2).await;
    assert!(leased(&two, ask(&keys(1, None), 3, short)).await.0.is_over());
    one.finish(&[id(2)]).await.unwrap();
    assert_eq!(refused_lease(&two, ask(&keys(2, None), 4, short)).await, "done");
}

#[tokio::test]
async fn a_sign_of_life_from_before_redis_clock_stepped_back_counts_for_nothing() {
    let server = Server::start().await;
    let (one, two) = (server.claims(ONE), server.claims(TWO));
    one.renew().await.unwrap();
    one.claim(&[id(1)]).await.unwrap();
    let answers = two.claim(&[id(1)]).await.unwrap();
    let [Shared::Theirs(claimant)] = &answers[..] else { panic!("{answers:?}") };
    let lives = async || two.living(std::slice::from_ref(&claimant.owner)).await.unwrap()[0] == Life::Lives;
    assert!(lives().await);
    let _: i64 = server.raw(&["PEXPIRE", &format!("hookgate:alive:{ONE}"), "3600000"]).await;
    assert!(!lives().await);
    one.renew().await.unwrap();
    assert!(lives().await);
}

#[tokio::test]
async fn what_was_published_without_a_claim_is_taken_over_unless_it_is_known() {
    let server = Server::start().await;
    let (one, two) = (server.claims(ONE), server.claims(TWO));
    let long = Duration::from_secs(60);
    one.claim(&[id(1)]).await.unwrap();
    one.finish(&[id(2)]).await.unwrap();
    one.doubt(&[id(1), id(2), id(3), id(4)]).await.unwrap();
    assert_eq!(claimed(&one, &[id(1), id(2)]).await, ["again", "done"]);
    assert!(leased(&two, ask(&keys(3, None), 1, long)).await.0.is_over());
    assert_eq!(claimed(&two, &[id(4)]).await, ["lease run out"]);
}

#[tokio::test]
async fn a_key_lives_as_long_as_its_lease_however_short_the_window() {
    let server = Server::start().await;
    let settings = RedisSettings { window: Duration::from_millis(20), ..server.settings(ONE) };
    let one = RedisClaims::new(settings).unwrap();
    let keys = keys(1, Some(200));
    leased(&one, ask(&keys, 1, Duration::from_secs(60))).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(refused_lease(&one, ask(&keys, 2, Duration::from_secs(60))).await, "lease");
}

#[tokio::test]
async fn a_relay_takes_a_lease_over_and_a_lease_a_silent_relays_claim() {
    let server = Server::start().await;
    let (one, two) = (server.claims(ONE), server.claims(TWO));
    let long = Duration::from_secs(60);
    leased(&one, ask(&keys(1, None), 1, Duration::from_millis(1))).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let Shared::Theirs(claimant) = two.claim(&[id(1)]).await.unwrap().remove(0) else { panic!() };
    assert_eq!(words(&two.take_over(&[(id(1), claimant)]).await.unwrap()), ["over"]);
    let keys = keys(1, None);
    let Leased::Theirs(silent) = one.lease(ask(&keys, 2, long)).await.unwrap().leased else { panic!() };
    assert_eq!(whose(&silent), TWO);
    let take = Ask { silent: Some(&silent), ..ask(&keys, 3, long) };
    assert!(leased(&one, take).await.0.is_over());
    assert_eq!(refused_lease(&one, take).await, "lease", "what was seen stands no longer");
    assert_eq!(claimed(&two, &[id(1)]).await, ["lease"]);
}

#[tokio::test]
async fn what_is_given_back_burns_no_key() {
    let server = Server::start().await;
    let (one, two) = (server.claims(ONE), server.claims(TWO));
    let (keys, long) = (keys(1, Some(200)), Duration::from_secs(60));
    let (lease, _) = leased(&one, ask(&keys, 1, long)).await;
    one.release(&lease, true).await.unwrap();
    assert_eq!(server.raw::<i64>(&["DBSIZE"]).await, 0, "nothing was sent, nothing is left");
    let (lease, _) = leased(&two, ask(&keys, 1, long)).await;
    assert!(!lease.is_over());
    two.release(&lease, false).await.unwrap();
    let life: i64 = server.raw(&["PTTL", &name(1)]).await;
    assert!(life > 0, "what may have been published stays known: {life}");
    let (lease, _) = leased(&one, ask(&keys, 2, long)).await;
    assert!(lease.is_over(), "at once, and marked");
    one.release(&lease, true).await.unwrap();
    assert!(leased(&two, ask(&keys, 2, long)).await.0.is_over(), "an earlier attempt may still have arrived");
}

#[tokio::test]
async fn twins_are_counted_with_the_claim_and_no_further_than_allowed() {
    let server = Server::start().await;
    let (one, two) = (server.claims(ONE), server.claims(TWO));
    let long = Duration::from_secs(60);
    let twin = |n| keys(n, Some(200));
    assert_eq!(leased(&one, ask(&twin(0), 0, long)).await.1, None);
    for n in 1..=8 {
        let claims = if n % 2 == 0 { &one } else { &two };
        assert_eq!(leased(claims, ask(&twin(n), n.into(), long)).await.1, Some(id(0)));
    }
    assert_eq!(refused_lease(&two, ask(&twin(9), 9, long)).await, "too many");
    assert_eq!(server.raw::<i64>(&["EXISTS", &name(9)]).await, 0, "it is claimed by nobody");
    one.finish(&[id(3)]).await.unwrap();
    let again = twin(3);
    let answer = two.lease(ask(&again, 10, long)).await.unwrap();
    assert!(matches!(answer.leased, Leased::Done(_)) && answer.twin_of == Some(id(0)));
    let content: String = server.raw(&["GET", &format!("hookgate:content:{}", id(200))]).await;
    assert_eq!(content, format!("{} 8", id(0)));
    let life: i64 = server.raw(&["PTTL", &format!("hookgate:content:{}", id(200))]).await;
    assert!(life > WINDOW.as_millis() as i64 - 5_000, "{life}");
}

#[tokio::test]
async fn a_twin_that_was_not_sent_is_not_counted() {
    let server = Server::start().await;
    let one = server.claims(ONE);
    let long = Duration::from_secs(60);
    let twin = |n| keys(n, Some(200));
    leased(&one, ask(&twin(0), 0, long)).await;
    for n in 1..30 {
        let (lease, twin_of) = leased(&one, ask(&twin(1), n, long)).await;
        assert_eq!(twin_of, Some(id(0)));
        one.release(&lease, true).await.unwrap();
    }
    let content: String = server.raw(&["GET", &format!("hookgate:content:{}", id(200))]).await;
    assert_eq!(content, format!("{} 0", id(0)));
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_sent_again() {
    let server = Server::start().await;
    let one = server.claims(ONE);
    let long = Duration::from_secs(60);
    for n in 0..3 {
        leased(&one, ask(&keys(n, None), n.into(), long)).await;
        server.raw::<String>(&["SCRIPT", "FLUSH"]).await;
    }
}
