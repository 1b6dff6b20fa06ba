//! The relay's side of the claims that replicas share: when to publish without Redis, and what Redis still has
//! to be told. Decides; publishes and parks nothing itself.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::told::Told;
use crate::dedup::{ClaimsError, Owner, RedisClaims, Shared, Silence};
use crate::event::Digest;
use crate::failpoint::{self, Point};

/// Confirmed events that Redis still has to be told of, at most; 32 bytes each.
const UNTOLD_MAX: usize = 100_000;
/// How many of them it is told at once.
const TOLD_AT_ONCE: usize = 1_024;
/// Pause between two attempts to tell it.
const PAUSE: Duration = Duration::from_millis(500);

/// How often this replica says that it lives.
const RENEW: Duration = Duration::from_secs(10);

/// What Redis says about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This replica publishes it.
    Mine,
    /// So it does, marked: the replica that claimed it has fallen silent, and may have published it (W4).
    TakenOver,
    /// Another replica publishes it: wait.
    Theirs,
    /// It is published and confirmed.
    Done,
}

impl Answer {
    fn of(shared: &Shared) -> Self {
        match shared {
            Shared::Mine | Shared::MineAgain { over: false } => Self::Mine,
            Shared::MineAgain { over: true } => Self::TakenOver,
            Shared::Theirs(_) => Self::Theirs,
            Shared::Done(_) => Self::Done,
        }
    }
}

/// The replica that has to give signs of life for this claim to hold.
fn owner(shared: &Shared) -> Option<&Owner> {
    match shared {
        Shared::Theirs(claimant) if matches!(claimant.owner, Owner::Replica { .. }) => Some(&claimant.owner),
        Shared::Theirs(_) | Shared::Mine | Shared::MineAgain { .. } | Shared::Done(_) => None,
    }
}

/// What Redis says about a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An answer for each event.
    Answers(Vec<Answer>),
    /// It does not answer: wait with all of them.
    Wait,
    /// It has not answered for so long that they are published, marked (W3a).
    Marked,
}

/// Claims, with what is to be caught up on.
pub(super) struct Claims {
    redis: RedisClaims,
    /// How long to wait for Redis before publishing with the duplicate mark.
    wait: Duration,
    /// Since when Redis has not answered a claim (monotonic).
    away_since: Option<Duration>,
    /// Confirmed, and not noted in Redis: other replicas hold their copies until it is.
    untold: VecDeque<Digest>,
    tell_at: Duration,
    told: Told,
    /// Which replicas have been silent.
    silence: Silence,
    renew_at: Duration,
}

impl Claims {
    /// `wait` is how long to do without an answer, `takeover_after` how long another replica may be silent.
    pub(super) fn new(redis: RedisClaims, wait: Duration, takeover_after: Duration) -> Self {
        Self {
            redis,
            wait,
            away_since: None,
            untold: VecDeque::new(),
            tell_at: Duration::ZERO,
            told: Told::default(),
            silence: Silence::new(takeover_after),
            renew_at: Duration::ZERO,
        }
    }

    /// Says that this replica lives, where it is time for that.
    pub(super) async fn renew(&mut self, now: Duration) {
        if now >= self.renew_at {
            let renewed = self.redis.renew().await.is_ok();
            failpoint::reach(Point::RedisAliveAfter);
            self.renew_at = now + if renewed { RENEW } else { PAUSE };
        }
    }

    /// Asks for a batch at `now` (monotonic).
    pub(super) async fn ask(&mut self, ids: &[Digest], now: Duration) -> Verdict {
        // Whatever becomes of the question, it may make this replica's claims.
        ids.iter().for_each(|id| self.told.claimed(id));
        let asked = match self.redis.claim(ids).await {
            Ok(answers) => self.judge(ids, answers, now).await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(answers) => {
                if self.away_since.take().is_some() {
                    tracing::info!("Redis answers again");
                }
                Verdict::Answers(answers)
            }
            Err(error) => {
                let since = *self.away_since.get_or_insert_with(|| {
                    tracing::warn!(%error, "Redis does not answer; events wait, and go out marked after redis_wait");
                    now
                });
                if now.saturating_sub(since) < self.wait { Verdict::Wait } else { Verdict::Marked }
            }
        }
    }

    /// Looks whether others' claims still hold, and takes over those that do not.
    async fn judge(
        &mut self,
        ids: &[Digest],
        mut answers: Vec<Shared>,
        now: Duration,
    ) -> Result<Vec<Answer>, ClaimsError> {
        let owners: HashSet<Owner> = answers.iter().filter_map(owner).cloned().collect();
        let owners: Vec<Owner> = owners.into_iter().collect();
        if !owners.is_empty() {
            for (owner, life) in owners.iter().zip(self.redis.living(&owners).await?) {
                self.silence.heard(owner, life, now);
            }
        }
        let (mut places, mut gone) = (Vec::new(), Vec::new());
        for (at, answer) in answers.iter().enumerate() {
            if let Shared::Theirs(claimant) = answer
                && self.silence.is_over(&claimant.owner, now)
            {
                places.push(at);
                gone.push((ids[at], claimant.clone()));
            }
        }
        if gone.is_empty() {
            return Ok(answers.iter().map(Answer::of).collect());
        }
        failpoint::reach(Point::RedisTakeoverBefore);
        let taken = self.redis.take_over(&gone).await?;
        failpoint::reach(Point::RedisTakeoverAfter);
        for (at, answer) in places.into_iter().zip(taken) {
            answers[at] = answer;
        }
        Ok(answers.iter().map(Answer::of).collect())
    }

    /// Tells the other replicas which events are confirmed; what cannot be told is kept for [`Self::catch_up`].
    pub(super) async fn finish(&mut self, done: &[Digest]) {
        let room = UNTOLD_MAX.saturating_sub(self.untold.len());
        // Without room it is worth another try: while this replica lives, others would wait for what it never says.
        let now_or_never = self.untold.is_empty() || done.len() > room;
        if done.is_empty() {
            return;
        }
        if now_or_never && self.redis.finish(done).await.is_ok() {
            self.told.add(done);
            return;
        }
        if self.untold.is_empty() {
            tracing::warn!("confirmed events could not be noted in Redis; that is done once it answers");
        }
        if done.len() > room {
            tracing::error!(
                events = done.len() - room,
                "too many confirmed events wait to be noted in Redis: other replicas may publish these again"
            );
        }
        self.untold.extend(done.iter().take(room));
    }

    /// Tells what could not be told before, a part at a time; true where more is left.
    pub(super) async fn catch_up(&mut self, now: Duration) -> bool {
        if now < self.tell_at {
            return false;
        }
        let Ok(more) = self.told.say_again(&self.redis, TOLD_AT_ONCE).await else {
            self.tell_at = now + PAUSE;
            return false;
        };
        if self.untold.is_empty() {
            return more;
        }
        let part: Vec<Digest> = self.untold.iter().take(TOLD_AT_ONCE).copied().collect();
        if self.redis.finish(&part).await.is_err() {
            self.tell_at = now + PAUSE;
            return false;
        }
        self.untold.drain(..part.len());
        self.told.add(&part);
        if self.untold.is_empty() {
            tracing::info!("all confirmed events are noted in Redis");
        }
        more || !self.untold.is_empty()
    }

    /// When there is something to catch up on (monotonic).
    pub(super) fn due(&self) -> Option<Duration> {
        (self.told.is_left() || !self.untold.is_empty()).then_some(self.tell_at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::dedup::RedisSettings;

    /// A Redis of the test's own; it ends with the value.
    struct Server(Child);

    impl Server {
        fn start_on(port: u16) -> Self {
            let child = Command::new("redis-server")
                .args([
                    "--port",
                    &port.to_string(),
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .stdout(Stdio::null())
                .spawn();
            Self(child.expect("these tests need redis-server on the PATH"))
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    fn id(n: usize) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
        Digest(bytes)
    }

    /// A replica's claims, taken over from others after ten minutes.
    fn claims(port: u16, replica: char) -> Claims {
        let settings = RedisSettings::new(
            format!("redis://127.0.0.1:{port}"),
            replica.to_string().repeat(32),
            Duration::from_secs(3_600),
        );
        Claims::new(RedisClaims::new(settings).unwrap(), Duration::ZERO, Duration::from_secs(600))
    }

    async fn started() -> (Server, u16) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Server::start_on(port);
        answers(&claims(port, '0').redis).await;
        (server, port)
    }

    async fn answers(redis: &RedisClaims) {
        for _ in 0..500 {
            if redis.ping().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("Redis does not answer");
    }

    async fn asked(claims: &mut Claims, id: Digest, seconds: u64) -> Answer {
        match claims.ask(&[id], Duration::from_secs(seconds)).await {
            Verdict::Answers(answers) => answers[0],
            other => panic!("{other:?}"),
        }
    }

    /// Says a command over a connection of its own; gives the answer's first bytes.
    fn say(port: u16, command: &str) -> String {
        let mut way = TcpStream::connect(("127.0.0.1", port)).unwrap();
        way.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 512];
        let length = way.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_claim_whose_reply_was_lost_ends_with_its_event() {
        let (_server, port) = started().await;
        let (mut one, mut two) = (claims(port, '1'), claims(port, '2'));
        one.renew(Duration::ZERO).await;
        drop(one.redis.claim(&[id(1), id(2)]).await);
        assert_eq!(asked(&mut two, id(1), 0).await, Answer::Theirs);
        assert_eq!(asked(&mut one, id(1), 0).await, Answer::Mine, "who asks again learns of it");
        one.finish(&[id(1), id(2)]).await;
        assert_eq!(asked(&mut two, id(1), 1).await, Answer::Done);
        assert_eq!(asked(&mut two, id(2), 1).await, Answer::Done, "published without Redis, too");
    }

    #[tokio::test]
    async fn what_an_earlier_run_never_ended_is_taken_over_while_its_replica_lives() {
        let (_server, port) = started().await;
        let (mut before, mut two) = (claims(port, '1'), claims(port, '2'));
        before.renew(Duration::ZERO).await;
        assert_eq!(asked(&mut before, id(1), 0).await, Answer::Mine);
        assert_eq!(asked(&mut before, id(2), 0).await, Answer::Mine);
        assert_eq!(asked(&mut two, id(1), 0).await, Answer::Theirs);
        // It was killed after its mark, before Redis could be told: nothing will ask for the first one again.
        let mut after = claims(port, '1');
        after.renew(Duration::ZERO).await;
        assert_eq!(asked(&mut after, id(2), 1).await, Answer::Mine);
        for seconds in [1, 30] {
            assert_eq!(asked(&mut two, id(1), seconds).await, Answer::Theirs);
        }
        assert_eq!(asked(&mut two, id(1), 31).await, Answer::TakenOver);
        assert_eq!(asked(&mut two, id(2), 31).await, Answer::Theirs, "the later run holds that one");
    }

    #[tokio::test]
    async fn what_redis_lost_with_its_newest_writes_is_said_again() {
        let (_server, port) = started().await;
        let (mut one, mut two) = (claims(port, '1'), claims(port, '2'));
        one.renew(Duration::ZERO).await;
        for n in 1..=3 {
            assert_eq!(asked(&mut one, id(n), 0).await, Answer::Mine);
        }
        let held = say(port, &format!("GET hookgate:{}", id(1)));
        let held = held.lines().nth(1).unwrap();
        one.finish(&[id(1), id(2), id(3)]).await;
        assert!(!one.catch_up(Duration::ZERO).await);
        // As after a failover: the first is as it was before the end, the second is gone; and an operator forgot the
        // third, which came again.
        say(port, &format!("SET hookgate:{} \"{held}\"", id(1)));
        say(port, &format!("DEL hookgate:{} hookgate:{}", id(2), id(3)));
        assert_eq!(asked(&mut one, id(3), 0).await, Answer::Mine);
        assert_eq!(asked(&mut two, id(1), 0).await, Answer::Theirs);
        assert!(say(port, "CLIENT KILL TYPE normal").starts_with(':'));
        answers(&one.redis).await;
        answers(&two.redis).await;
        while one.catch_up(Duration::from_secs(1)).await {}
        assert_eq!(one.due(), None);
        assert_eq!(asked(&mut two, id(1), 1).await, Answer::Done);
        assert_eq!(
            asked(&mut two, id(2), 1).await,
            Answer::Mine,
            "what nobody claims any more is not made up"
        );
        assert_eq!(asked(&mut two, id(3), 1).await, Answer::Theirs, "claimed again, and not published yet");
    }

    #[tokio::test]
    async fn what_is_untold_is_bounded_and_beyond_that_told_as_soon_as_redis_answers() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let window = Duration::from_secs(600);
        let settings = RedisSettings::new(format!("redis://127.0.0.1:{port}"), "1".repeat(32), window);
        let redis = RedisClaims::new(settings).unwrap();
        let mut claims = Claims::new(redis.clone(), Duration::ZERO, window);
        let ids: Vec<Digest> = (0..UNTOLD_MAX + 2).map(id).collect();
        claims.finish(&ids[..UNTOLD_MAX]).await;
        claims.finish(&ids[UNTOLD_MAX..UNTOLD_MAX + 1]).await;
        assert_eq!(claims.untold.len(), UNTOLD_MAX);
        let _server = Server::start_on(port);
        for _ in 0..500 {
            if redis.ping().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let last = &ids[UNTOLD_MAX + 1..];
        claims.finish(last).await;
        assert!(matches!(redis.claim(last).await.unwrap()[..], [Shared::Done(_)]), "told past the others");
        while claims.catch_up(Duration::ZERO).await {}
        assert_eq!((claims.untold.len(), claims.due()), (0, None));
        assert!(matches!(redis.claim(&ids[..1]).await.unwrap()[..], [Shared::Done(_)]));
    }
}
