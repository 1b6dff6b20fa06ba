//! Calls of the admin listener as its operator: address and token from the command line, else from the configuration.

use std::fmt;
use std::io::Read;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::access::{self, Role, Secret};
use super::args::ConfigArgs;
use super::http::{Client, Reply, Url};
use super::output::line;
use super::stop::Stop;

/// The status of a call beyond what the listener takes, the pause before the next try, and the most of those.
const TOO_MANY: u16 = 429;
const PAUSE: Duration = Duration::from_secs(1);
const TRIES_MAX: usize = 30;

/// Which gateway is called.
#[derive(Debug, Args)]
pub(super) struct CallerArgs {
    /// The admin listener [default: the configured one; without a configuration http://127.0.0.1:9090]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// The environment variable with the admin token [default: the configured token; with --from only where --config names the file]
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl CallerArgs {
    /// Where its configuration is, unless the command line names another machine's gateway.
    pub(super) fn local(&self) -> Option<ConfigArgs> {
        self.from.is_none().then(|| self.config.clone())
    }
}

/// A gateway, as its operator calls it.
pub(super) struct Caller {
    client: Client,
    base: Url,
    token: Option<Secret>,
}

impl Caller {
    /// Reads the configuration where one is named, or nothing else tells the address.
    ///
    /// # Errors
    /// Where the configuration that was named has errors, or an option makes no sense.
    pub(super) fn new(args: CallerArgs) -> Result<Self, Stop> {
        let CallerArgs { from, token_env, config } = args;
        let (from, token_env) = (from.as_deref(), token_env.as_deref());
        let (base, token) = access::admin_listener(Role::Operator, from, token_env, config)?;
        Ok(Self { client: Client::new(), base, token })
    }

    /// Gets JSON.
    ///
    /// # Errors
    /// Where nobody answers, or the gateway refuses.
    pub(super) fn get(&self, path: &str) -> Result<Value, Stop> {
        let reply = self.fetch(path)?;
        self.json(&reply)
    }

    /// Where no source is called `name`: tells that, and which there are.
    pub(super) fn tell_of_no_source(&self, name: Option<&str>) {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return };
        let Ok(known) = self.get("/v1/sources") else { return };
        let names: Vec<&str> = known["sources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["name"].as_str())
            .collect();
        if !names.contains(&name) {
            eprintln!("warning: no source is named {}; there are: {}", line(name), line(&names.join(", ")));
        }
    }

    /// Gets bytes.
    ///
    /// # Errors
    /// Where nobody answers, or the gateway refuses.
    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>, Stop> {
        let reply = self.fetch(path)?;
        if reply.is_success() { Ok(reply.body) } else { Err(self.refused(&reply)) }
    }

    /// Gets what comes bit by bit, for as long as one call may take; `last` is the last thing known of it.
    ///
    /// # Errors
    /// Where nobody answers, or the gateway refuses.
    pub(super) fn stream(&self, path: &str, last: Option<&str>) -> Result<impl Read + use<>, Stop> {
        let token = self.token.as_ref().map(|token| token.as_slice());
        let answer = self.client.stream(&self.base.with_path(path), token, last);
        answer.map_err(|error| self.unreachable(&error))?.map_err(|reply| self.refused(&reply))
    }

    /// Posts JSON and gets some.
    ///
    /// # Errors
    /// Where nobody answers, or the gateway refuses.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Stop> {
        self.json(&self.send(path, body)?)
    }

    /// Posts JSON and gets some, with a 200 or with one of `also`.
    ///
    /// # Errors
    /// Where nobody answers, or the gateway refuses with another status.
    pub(super) fn ask(&self, path: &str, body: &Value, also: &[u16]) -> Result<(u16, Value), Stop> {
        let mut reply = self.send(path, body)?;
        let status = reply.status;
        if also.contains(&status) {
            reply.status = 200;
        }
        Ok((status, self.json(&reply)?))
    }

    fn fetch(&self, path: &str) -> Result<Reply, Stop> {
        self.at_its_pace(|token| self.client.get(&self.base.with_path(path), token))
    }

    fn send(&self, path: &str, body: &Value) -> Result<Reply, Stop> {
        self.at_its_pace(|token| self.client.post(&self.base.with_path(path), token, &body.to_string()))
    }

    /// Calls again, some times, where the gateway has too many calls: it has done nothing then.
    fn at_its_pace<E: fmt::Display>(
        &self,
        call: impl Fn(Option<&[u8]>) -> Result<Reply, E>,
    ) -> Result<Reply, Stop> {
        let token = self.token.as_ref().map(|token| token.as_slice());
        for _ in 0..TRIES_MAX {
            let reply = call(token).map_err(|error| self.unreachable(&error))?;
            if reply.status != TOO_MANY {
                return Ok(reply);
            }
            thread::sleep(PAUSE);
        }
        call(token).map_err(|error| self.unreachable(&error))
    }

    fn json(&self, reply: &Reply) -> Result<Value, Stop> {
        if !reply.is_success() {
            return Err(self.refused(reply));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|error| Stop::failure(format!("{}: not the answer of a gateway: {error}", self.base)))
    }

    fn unreachable(&self, error: &impl fmt::Display) -> Stop {
        Stop::unreachable(format!("{error}; does a gateway run whose admin.listen this is?"))
    }

    fn refused(&self, reply: &Reply) -> Stop {
        let why = format!("{} {}", self.base, reply.refusal());
        if reply.status == 400 { Stop::usage(why) } else { Stop::failure(why) }
    }
}
