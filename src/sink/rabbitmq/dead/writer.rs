//! Publishes letters straight to a queue, and says of each what the broker answered.

use std::collections::HashSet;
use std::time::Duration;

use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::timeout;

use crate::sink::rabbitmq::encode::short;
use crate::sink::rabbitmq::health::Trouble;
use crate::sink::rabbitmq::topology::{confirming, within};

/// How long the confirms of one batch may take.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);

/// A message for a queue.
pub(super) struct Post<'a> {
    pub queue: String,
    pub id: Option<&'a str>,
    pub properties: BasicProperties,
    pub body: &'a [u8],
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in its queue.
    Confirmed,
    /// There is no such queue.
    Returned,
    /// The queue takes none: it is full.
    Refused,
    /// No answer: it may be in its queue or not.
    Unconfirmed,
}

/// A channel with confirms.
pub(super) struct Writer {
    channel: Channel,
    step: Duration,
}

impl Writer {
    pub(super) async fn open(connection: &Connection, step: Duration) -> Result<Self, Trouble> {
        Ok(Self { channel: confirming(connection, step).await?, step })
    }

    /// Makes sure that letters can be published anew before any is taken, by a message for a queue that is nowhere.
    pub(super) async fn probe(&self, dead: &str) -> Result<(), Trouble> {
        let queue = format!("{dead}.probe");
        let post = Post { queue, id: None, properties: BasicProperties::default(), body: &[] };
        let trouble = match self.post(&[post]).await {
            (_, Some(trouble)) => trouble,
            (fates, None) if fates.contains(&Fate::Unconfirmed) => {
                Trouble::Passing("the broker confirms nothing: is it short of memory or disk?".to_owned())
            }
            _ => return Ok(()),
        };
        Err(trouble.advise(
            "letters are published straight to queues, also to keep those that were often looked at: give the user write \
             rights on the default exchange (amq.default)",
        ))
    }

    /// Publishes in this order and waits for the answers, which come back in it; and why not all came, if so.
    pub(super) async fn post(&self, posts: &[Post<'_>]) -> (Vec<Fate>, Option<Trouble>) {
        let mut fates = vec![Fate::Unconfirmed; posts.len()];
        let mut returned = HashSet::new();
        let mut trouble = None;
        let answers = async {
            let mut confirms = Vec::with_capacity(posts.len());
            for post in posts {
                let options = BasicPublishOptions { mandatory: true, ..Default::default() };
                let queue = short(post.queue.as_str());
                let publishing =
                    self.channel.basic_publish("".into(), queue, options, post.body, post.properties.clone());
                match within(self.step, "publishing", publishing).await {
                    Ok(confirm) => confirms.push(confirm),
                    Err(why) => {
                        trouble = Some(why);
                        break;
                    }
                }
            }
            for (fate, confirm) in fates.iter_mut().zip(confirms) {
                let answer = match confirm.await {
                    Ok(answer) => answer,
                    Err(error) => return trouble = trouble.take().or(Some(Trouble::of(&error))),
                };
                *fate = match &answer {
                    Confirmation::Ack(_) => Fate::Confirmed,
                    Confirmation::Nack(_) => Fate::Refused,
                    Confirmation::NotRequested => Fate::Unconfirmed,
                };
                returned.extend(answer.take_message().map(|message| key_of(&message)));
            }
        };
        if timeout(CONFIRMED_WITHIN, answers).await.is_err() {
            trouble = Some(Trouble::Passing(format!("no confirm within {CONFIRMED_WITHIN:?}")));
        }
        // lapin hands a return to some message that was acknowledged along with it, not to the one it belongs to. Of
        // several with one id for one queue all count as returned: what stays can be tried again, what is ended cannot.
        for (fate, post) in fates.iter_mut().zip(posts) {
            let key = (post.queue.clone(), post.id.map(str::to_owned));
            if *fate == Fate::Confirmed && returned.contains(&key) {
                *fate = Fate::Returned;
            }
        }
        (fates, trouble)
    }
}

/// The queue that a returned message was for, and its id.
fn key_of(message: &BasicReturnMessage) -> (String, Option<String>) {
    let id = message.delivery.properties.message_id().as_ref().map(ToString::to_string);
    (message.delivery.routing_key.to_string(), id.filter(|id| !id.is_empty()))
}
