//! The transitions that look and write in one step, as Lua that Redis runs; sent by digest, and in full where the
//! server has not seen them yet. All read the time from Redis itself. They need Redis 6.2 or Valkey.

use std::sync::LazyLock;

use ::redis::{Cmd, Pipeline, RedisResult, Value};
use sha1::{Digest as _, Sha1};

use super::ClaimsError;
use super::link::Line;

/// A script and its digest.
pub(super) struct Script {
    text: &'static str,
    digest: LazyLock<String>,
}

impl Script {
    const fn new(text: &'static str, digest: fn() -> String) -> Self {
        Self { text, digest: LazyLock::new(digest) }
    }

    fn command(&self, in_full: bool, call: &Call) -> Cmd {
        let (verb, script) = if in_full { ("EVAL", self.text) } else { ("EVALSHA", self.digest.as_str()) };
        let mut command = ::redis::cmd(verb);
        command.arg(script).arg(call.keys.len()).arg(&call.keys).arg(&call.arguments);
        command
    }

    /// Runs the script once for each call, in order; one round trip, or two where the server does not know it.
    ///
    /// # Errors
    /// Where Redis does not answer; an error of a single call is in its reply.
    pub(super) async fn run(
        &self,
        line: &Line,
        calls: &[Call],
    ) -> Result<Vec<RedisResult<Value>>, ClaimsError> {
        let mut replies = self.send(line, calls.iter(), false).await?;
        let unknown: Vec<usize> = (0..replies.len()).filter(|at| is_unknown(&replies[*at])).collect();
        if !unknown.is_empty() {
            let again = self.send(line, unknown.iter().map(|at| &calls[*at]), true).await?;
            for (at, reply) in unknown.into_iter().zip(again) {
                replies[at] = reply;
            }
        }
        Ok(replies)
    }

    async fn send<'c>(
        &self,
        line: &Line,
        calls: impl Iterator<Item = &'c Call>,
        in_full: bool,
    ) -> Result<Vec<RedisResult<Value>>, ClaimsError> {
        let mut pipe = Pipeline::new();
        let mut count = 0;
        for call in calls {
            pipe.add_command(self.command(in_full, call));
            count += 1;
        }
        line.send(&pipe, count).await
    }
}

/// Keys and arguments of one run of a script.
pub(super) struct Call {
    pub keys: Vec<String>,
    pub arguments: Vec<String>,
}

fn is_unknown(reply: &RedisResult<Value>) -> bool {
    reply.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"))
}

fn digest(text: &str) -> String {
    hex::encode(Sha1::digest(text))
}

/// One value for another, if it is still the one that was seen.
/// `KEYS` the event; `ARGV` seen, instead, life in ms or 0 for what is left of it.
/// Gives 1, or the value that stands there (empty for none).
pub(super) static SWAP: Script = Script::new(SWAP_TEXT, || digest(SWAP_TEXT));
const SWAP_TEXT: &str = "\
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] then return held or '' end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1";

/// The end of a claim by the replica that holds it, in whichever run.
/// `KEYS` the event; `ARGV` how that replica's claims begin, the value instead, life in ms.
/// Gives 1 where such a claim stood there.
pub(super) static FINISH_OWN: Script = Script::new(FINISH_OWN_TEXT, || digest(FINISH_OWN_TEXT));
const FINISH_OWN_TEXT: &str = "\
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// A claim with a lease, of what nobody holds or whose holder is out of time; with the twin's count.
/// `KEYS` the event, its content if it has one; `ARGV` replica, token, lease in ms, life in ms, message id, most
/// twins, a value that may be replaced though its time is not up (or empty).
/// Gives what happened (`mine`, `over`, `held`, `twins`), the value that stands there, the time, the first event of
/// that content (empty where this is it).
/// A lease that ends later than two of the asker's from now was made before the clock stepped back (or by a replica with
/// a much longer `confirm_timeout`): it is cut to that. Its holder notices nothing; whoever follows it is marked.
pub(super) static LEASE: Script = Script::new(LEASE_TEXT, || digest(LEASE_TEXT));
const LEASE_TEXT: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
local ends = string.format('%.0f', now + ARGV[3])
local claim = 'claimed ' .. ARGV[1] .. ' lease ' .. ends .. ' ' .. ARGV[2]
local first, count
if KEYS[2] then
  local content = redis.call('GET', KEYS[2])
  if content then first, count = string.match(content, '^(%x+) (%d+)$') end
end
local twin_of = ''
if first and first ~= ARGV[5] then twin_of = first end
local held = redis.call('GET', KEYS[1])
if not held then
  if twin_of ~= '' then
    if tonumber(count) >= tonumber(ARGV[6]) then return {'twins', '', stamp, twin_of} end
    redis.call('SET', KEYS[2], first .. ' ' .. string.format('%.0f', count + 1), 'KEEPTTL')
  elseif KEYS[2] and not first then
    redis.call('SET', KEYS[2], ARGV[5] .. ' 0', 'PX', ARGV[4])
  end
  redis.call('SET', KEYS[1], claim, 'PX', ARGV[4])
  return {'mine', claim, stamp, twin_of}
end
local until_then = string.match(held, '^claimed %x+ lease (%d+) ')
if held == ARGV[7] or (until_then and tonumber(until_then) <= now) then
  claim = claim .. ' over'
  redis.call('SET', KEYS[1], claim, 'PX', ARGV[4])
  return {'over', claim, stamp, twin_of}
end
local longest = now + 2 * ARGV[3]
if until_then and tonumber(until_then) > longest then
  held = string.gsub(held, ' lease %d+ ', ' lease ' .. string.format('%.0f', longest) .. ' ', 1)
  redis.call('SET', KEYS[1], held, 'KEEPTTL')
end
return {'held', held, stamp, twin_of}";

/// The end of a lease whose event was not confirmed, if it is still the one that was made.
/// `KEYS` the event, its content if it has one; `ARGV` the value made, the message id, and instead of it the value
/// of a lease that has run out, or nothing where the event was never published: then key and count go as they came.
/// Gives 1 where it was still ours.
pub(super) static RELEASE: Script = Script::new(RELEASE_TEXT, || digest(RELEASE_TEXT));
const RELEASE_TEXT: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[1], ARGV[3], 'KEEPTTL')
  return 1
end
redis.call('DEL', KEYS[1])
local content = KEYS[2] and redis.call('GET', KEYS[2])
if content then
  local first, count = string.match(content, '^(%x+) (%d+)$')
  if first == ARGV[2] and count == '0' then
    redis.call('DEL', KEYS[2])
  elseif first and first ~= ARGV[2] and tonumber(count) > 0 then
    redis.call('SET', KEYS[2], first .. ' ' .. string.format('%.0f', count - 1), 'KEEPTTL')
  end
end
return 1";
