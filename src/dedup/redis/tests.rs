//! The claims against a real Redis, started here and ended here.

mod leases;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, System};

const ONE: &str = "11111111111111111111111111111111";
const TWO: &str = "22222222222222222222222222222222";
const THREE: &str = "33333333333333333333333333333333";
const WINDOW: Duration = Duration::from_secs(600);

/// A Redis of our own, without a disk, in a folder of its own; it ends with the value.
struct Server {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Server {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_on(port).await
    }

    async fn start_on(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need redis-server on the PATH");
        let server = Self { child, port, _dir: dir };
        let claims = server.claims(ONE);
        for _ in 0..200 {
            if claims.ping().await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("redis-server on port {port} does not answer");
    }

    fn settings(&self, replica: &str) -> RedisSettings {
        RedisSettings::new(format!("redis://127.0.0.1:{}", self.port), replica, WINDOW)
    }

    fn claims(&self, replica: &str) -> RedisClaims {
        RedisClaims::new(self.settings(replica)).unwrap()
    }

    async fn raw<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let (name, arguments) = words.split_first().unwrap();
        ::redis::cmd(name).arg(arguments).query_async(&mut connection).await.unwrap()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn id(n: u8) -> Digest {
    Digest([n; 32])
}

fn name(n: u8) -> String {
    format!("hookgate:{}", id(n))
}

/// Answers in words.
fn words(answers: &[Shared]) -> Vec<String> {
    let word = |answer: &Shared| match answer {
        Shared::Mine => "mine".to_owned(),
        Shared::MineAgain { over: false } => "again".to_owned(),
        Shared::MineAgain { over: true } => "over".to_owned(),
        Shared::Done(_) => "done".to_owned(),
        Shared::Theirs(claimant) => whose(claimant),
    };
    answers.iter().map(word).collect()
}

fn whose(claimant: &Claimant) -> String {
    match &claimant.owner {
        Owner::Replica { id, .. } => id.clone(),
        Owner::Lease(left) if left.is_zero() => "lease run out".to_owned(),
        Owner::Lease(_) => "lease".to_owned(),
        Owner::Unknown => "unknown".to_owned(),
    }
}

async fn claimed(claims: &RedisClaims, ids: &[Digest]) -> Vec<String> {
    words(&claims.claim(ids).await.unwrap())
}

#[tokio::test]
async fn a_claim_goes_from_claimed_to_done() {
    let server = Server::start().await;
    let (one, two) = (server.claims(ONE), server.claims(TWO));
    assert_eq!(claimed(&one, &[id(1), id(2)]).await, ["mine", "mine"]);
    assert_eq!(claimed(&two, &[id(1), id(3)]).await, [ONE, "mine"]);
    assert_eq!(claimed(&one, &[id(1), id(3)]).await, ["again", TWO]);
    assert_eq!(claimed(&server.claims(ONE), &[id(2)]).await, ["again"], "after a restart");
    one.finish(&[id(1), id(2)]).await.unwrap();
    assert_eq!(claimed(&two, &[id(1), id(2)]).await, ["done", "done"]);
    assert_eq!(claimed(&one, &[id(1)]).await, ["done"]);
    assert_eq!(server.raw::<String>(&["GET", &name(1)]).await, format!("done {ONE}"));
    assert_eq!(
        server.raw::<String>(&["GET", &name(3)]).await,
        format!("claimed {TWO} run {}", two.inner.run)
    );
}

#[tokio::test]
async fn claims_and_dones_live_for_the_window() {
    let server = Server::start().await;
    let one = server.claims(ONE);
    one.claim(&[id(1)]).await.unwrap();
    let window = WINDOW.as_millis() as i64;
    let life: i64 = server.raw(&["PTTL", &name(1)]).await;
    assert!((window - 5_000..=window).contains(&life), "{life}");
    server.raw::<i64>(&["PEXPIRE", &name(1), "100000"]).await;
    assert_eq!(claimed(&one, &[id(1)]).await, ["again"]);
    assert_eq!(claimed(&server.claims(ONE), &[id(1)]).await, ["again"], "nor does another run's");
    let life: i64 = server.raw(&["PTTL", &name(1)]).await;
    assert!(life <= 100_000, "a second look must not prolong a claim: {life}");
    one.finish(&[id(1)]).await.unwrap();
    let life: i64 = server.raw(&["PTTL", &name(1)]).await;
    assert!((window - 5_000..=window).contains(&life), "{life}");

    let short = RedisSettings { window: Duration::from_millis(50), ..server.settings(TWO) };
    let two = RedisClaims::new(short).unwrap();
    assert_eq!(two.claim(&[id(2)]).await.unwrap(), [Shared::Mine]);
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(one.claim(&[id(2)]).await.unwrap(), [Shared::Mine]);
}

#[tokio::test]
async fn of_a_hundred_racing_tasks_exactly_one_gets_the_event() {
    let server = Server::start().await;
    let replicas = [server.claims(ONE), server.claims(TWO)];
    for round in 0..20 {
        let racing: Vec<_> = (0..100)
            .map(|n| {
                let claims = replicas[n % 2].clone();
                crate::tasks::task(async move { claims.claim(&[id(round)]).await.unwrap().remove(0) })
            })
            .collect();
        let (mut mine, mut owners) = (0, Vec::new());
        for task in racing {
            match task.await.unwrap() {
                Shared::Mine => mine += 1,
                Shared::Theirs(claimant) => owners.push(whose(&claimant)),
                Shared::MineAgain { .. } => {}
                Shared::Done(_) => panic!("nobody finished"),
            }
        }
        assert_eq!((mine, owners.len()), (1, 50), "round {round}");
        owners.dedup();
        assert!(owners == [ONE] || owners == [TWO], "one owner, known to all: {owners:?}");
    }
}

#[tokio::test]
async fn a_big_batch_is_answered_in_order() {
    let server = Server::start().await;
    let (one, two) = (server.claims(ONE), server.claims(TWO));
    let mut batch: Vec<Digest> =
        (0..3_000_u32).map(|n| Digest([n.to_be_bytes(); 8].concat().try_into().unwrap())).collect();
    let theirs_too: Vec<Digest> = batch.iter().copied().step_by(3).collect();
    assert!(two.claim(&theirs_too).await.unwrap().iter().all(|answer| *answer == Shared::Mine));
    let answers = one.claim(&batch).await.unwrap();
    assert_eq!(answers.len(), 3_000);
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(words(&[answer]), [if n % 3 == 0 { TWO } else { "mine" }]);
    }
    one.finish(&batch).await.unwrap();
    batch.reverse();
    assert!(two.claim(&batch).await.unwrap().iter().all(|answer| matches!(answer, Shared::Done(_))));
    assert_eq!(one.claim(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_value_that_is_none_of_ours_is_theirs() {
    let server = Server::start().await;
    let one = server.claims(ONE);
    server.raw::<i64>(&["LPUSH", &name(0), "x"]).await;
    let values =
        ["", "done", "claimed", "claimed x", "Done 11111111111111111111111111111111", "done  ", "\u{fffd}"];
    for (n, value) in (1..).zip(values) {
        server.raw::<String>(&["SET", &name(n), value]).await;
    }
    for n in 0..=values.len() as u8 {
        assert_eq!(claimed(&one, &[id(n)]).await, ["unknown"], "{n}");
    }
    server.raw::<String>(&["SET", &name(50), &format!("claimed {TWO} later words")]).await;
    assert_eq!(claimed(&one, &[id(50)]).await, [TWO], "what later versions add is passed over");
}

#[tokio::test]
async fn a_stopped_server_is_reported_and_a_started_one_found_again() {
    let mut server = Server::start().await;
    let one = server.claims(ONE);
    assert!(!one.connected());
    assert_eq!(one.ping().await.unwrap().split('.').count(), 3);
    assert!(one.connected());
    server.stop();
    for n in 0..5 {
        let error = one.claim(&[id(n)]).await.unwrap_err();
        assert!(matches!(error, ClaimsError::Away(_)), "{error}");
        assert!(!one.connected());
    }
    let server = Server::start_on(server.port).await;
    let mut tries = 0;
    while let Err(error) = one.claim(&[id(1)]).await {
        tries += 1;
        assert!(tries < 400, "{error}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(one.connected());
    assert!(server.raw::<String>(&["GET", &name(1)]).await.starts_with(&format!("claimed {ONE}")));
}

#[tokio::test]
async fn a_restart_costs_one_command() {
    let mut server = Server::start().await;
    let one = server.claims(ONE);
    one.ping().await.unwrap();
    server.stop();
    let server = Server::start_on(server.port).await;
    assert!(matches!(one.claim(&[id(1)]).await, Err(ClaimsError::Away(_))));
    assert_eq!(one.claim(&[id(1)]).await.unwrap(), [Shared::Mine]);
    drop(server);
}

#[tokio::test]
async fn a_silent_server_costs_the_deadline_and_no_more() {
    let server = Server::start().await;
    let settings = RedisSettings { deadline: Duration::from_millis(200), ..server.settings(ONE) };
    let one = RedisClaims::new(settings).unwrap();
    one.ping().await.unwrap();
    server.signal("-STOP");
    let clock = System::new();
    for _ in 0..3 {
        let before = clock.monotonic();
        let error = one.claim(&[id(1)]).await.unwrap_err();
        let took = clock.monotonic() - before;
        assert!(matches!(error, ClaimsError::Deadline(_) | ClaimsError::Away(_)), "{error}");
        assert!(took < Duration::from_millis(400), "{took:?}");
    }
    server.signal("-CONT");
    let mut answer = one.claim(&[id(1)]).await;
    for _ in 0..200 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        answer = one.claim(&[id(1)]).await;
    }
    let answer = answer.unwrap().remove(0);
    assert!(
        matches!(answer, Shared::Mine | Shared::MineAgain { over: false }),
        "the lost claim was ours: {answer:?}"
    );
}

#[tokio::test]
async fn a_replica_that_may_not_write_is_an_error_and_not_an_answer() {
    let server = Server::start().await;
    let one = server.claims(ONE);
    one.claim(&[id(1)]).await.unwrap();
    server.raw::<String>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let error = one.claim(&[id(2)]).await.unwrap_err();
    assert!(matches!(&error, ClaimsError::Refused(text) if text.contains("READONLY")), "{error}");
    assert!(!one.connected());
}

#[test]
fn settings_are_checked_and_never_shown() {
    let url = "redis://user:s3cret@127.0.0.1:1";
    let settings = RedisSettings::new(url, ONE, WINDOW);
    let claims = RedisClaims::new(settings.clone()).unwrap();
    for shown in [format!("{settings:?}"), format!("{claims:?}")] {
        assert!(!shown.contains("s3cret") && shown.contains("(hidden)"), "{shown}");
    }
    let bad = [
        RedisSettings::new("http://user:s3cret@host", ONE, WINDOW),
        RedisSettings::new("s3cret", ONE, WINDOW),
        RedisSettings::new(url, "short", WINDOW),
        RedisSettings::new(url, ONE.replace('1', "G"), WINDOW),
        RedisSettings::new(url, ONE, Duration::ZERO),
        RedisSettings { deadline: Duration::ZERO, ..settings },
    ];
    for settings in bad {
        let error = RedisClaims::new(settings).unwrap_err();
        assert!(matches!(error, ClaimsError::Settings(_)) && !error.to_string().contains("s3cret"));
    }
}

#[tokio::test]
async fn of_all_who_see_a_silent_owner_one_takes_over() {
    let server = Server::start().await;
    let (one, two, three) = (server.claims(ONE), server.claims(TWO), server.claims(THREE));
    one.renew().await.unwrap();
    one.claim(&[id(1), id(2)]).await.unwrap();
    let seen = |answers: Vec<Shared>| match answers.into_iter().next() {
        Some(Shared::Theirs(claimant)) => claimant,
        other => panic!("{other:?}"),
    };
    let by_two = seen(two.claim(&[id(1)]).await.unwrap());
    let by_three = seen(three.claim(&[id(1)]).await.unwrap());
    let owners = [by_two.owner.clone(), Owner::Unknown];
    assert_eq!(two.living(&owners).await.unwrap(), [Life::Lives, Life::Lives]);
    let (of_two, of_three) = ([(id(1), by_two.clone())], [(id(1), by_three)]);
    let (a, b) = tokio::join!(two.take_over(&of_two), three.take_over(&of_three));
    let mut both = [words(&a.unwrap()), words(&b.unwrap())].concat();
    both.sort();
    assert!(both == [TWO, "over"] || both == [THREE, "over"], "{both:?}");
    for claims in [&two, &three] {
        let again = claimed(claims, &[id(1)]).await;
        assert!(again == ["over"] || again == [TWO] || again == [THREE], "{again:?}");
    }
    assert!(matches!(claimed(&one, &[id(1)]).await[0].as_str(), TWO | THREE), "the old owner waits");
    let life: i64 = server.raw(&["PTTL", &name(1)]).await;
    assert!(life > WINDOW.as_millis() as i64 - 5_000, "{life}");

    one.finish(&[id(1)]).await.unwrap();
    assert_eq!(words(&two.take_over(&[(id(1), by_two)]).await.unwrap()), ["done"], "done stays done");
    assert_eq!(server.raw::<String>(&["GET", &name(1)]).await, format!("done {ONE}"));
}

#[tokio::test]
async fn a_takeover_is_remembered_over_a_restart() {
    let server = Server::start().await;
    let one = server.claims(ONE);
    one.claim(&[id(1)]).await.unwrap();
    let two = server.claims(TWO);
    let Shared::Theirs(claimant) = two.claim(&[id(1)]).await.unwrap().remove(0) else { panic!() };
    assert_eq!(words(&two.take_over(&[(id(1), claimant)]).await.unwrap()), ["over"]);
    for _ in 0..2 {
        assert_eq!(
            claimed(&server.claims(TWO), &[id(1)]).await,
            ["over"],
            "the first owner may have published"
        );
    }
}

#[tokio::test]
async fn claims_of_an_earlier_run_are_nobodys_until_they_are_asked_for() {
    let server = Server::start().await;
    let (before, two) = (server.claims(ONE), server.claims(TWO));
    before.claim(&[id(1), id(2)]).await.unwrap();
    let after = server.claims(ONE);
    after.renew().await.unwrap();
    assert_eq!(claimed(&after, &[id(2)]).await, ["again"]);
    let answers = two.claim(&[id(1), id(2)]).await.unwrap();
    let owners: Vec<Owner> = answers
        .into_iter()
        .map(|answer| match answer {
            Shared::Theirs(claimant) => claimant.owner,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        two.living(&owners).await.unwrap(),
        [Life::Followed, Life::Lives],
        "only the second was asked for again"
    );
}
