#!/usr/bin/env bash
# Takes the events of a source from hookgate's inbox by curl, one at a time, and has the effect of each in PostgreSQL once, by psql.
# README.md says why it is as it is. Needs curl, jq, psql 14 or newer. Set INBOX_URL, such as http://127.0.0.1:9090/v1/inbox/stripe;
# INBOX_TOKEN where the listener asks for one; LEASE (30s), longer than an event takes; and what psql reads: PGHOST, PGUSER,
# PGDATABASE, PGPASSWORD or PGPASSFILE.
set -euo pipefail
: "${INBOX_URL:?is not set, such as http://127.0.0.1:9090/v1/inbox/stripe}"
lease=${LEASE:-30s}
export PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-10} PGOPTIONS=${PGOPTIONS:--c statement_timeout=20s}

claim=$(mktemp)
trap 'rm -f "$claim"' EXIT
export claim # psql reads the event where it needs it: an event is too long for an argument
stopping='' asking=''
# While it waits for an event it hangs up, which takes none along. What is in hand is finished first.
trap 'stopping=yes; [ -z "$asking" ] || kill "$asking" 2>/dev/null || true' TERM INT

say() { printf '%s\n' "$*" >&2; }
# By a file of options: arguments can be seen by everyone.
token_header() { [ -z "${INBOX_TOKEN-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$INBOX_TOKEN"; }
curl=(curl --silent --show-error --fail --request POST)
answer() { # ack, nack or extend; what goes with the token
    "${curl[@]}" --max-time 10 --config <(token_header) --output /dev/null --data "{\"tokens\":[\"$token\"]${2-}}" "$INBOX_URL/$1"
}

# The effect and the row that says so, in one transaction. «reached» on stdout tells that the effect was.
# Your part stands between \if :ours and \endif.
try() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --set VERBOSITY=sqlstate \
        --set id="$id" --set type="$type" --file - <<'SQL'
\set body `jq --raw-output '.events[0].body // empty' "$claim"`
BEGIN;
WITH row AS (INSERT INTO handled (message_id) VALUES (:'id') ON CONFLICT DO NOTHING RETURNING 1)
    SELECT count(*) = 1 AS first, count(*) = 1 AND :'type' = 'payment.received' AS ours FROM row \gset
\echo reached
\if :first
\else
    \warn :id was here before
\endif
\if :ours
    INSERT INTO entries (account, amount)
        SELECT body ->> 'account', (body ->> 'amount')::bigint FROM (SELECT :'body'::jsonb) AS sent (body);
\endif
COMMIT;
SQL
}

pause=1
wait_longer() { # in the background, so that a signal ends it
    sleep "$pause" & asking=$!
    wait "$asking" || true
    asking=''
    pause=$((pause * 2 > 5 ? 5 : pause * 2))
}

say working
while [ -z "$stopping" ]; do
    "${curl[@]}" --max-time 40 --config <(token_header) "$INBOX_URL/claim?max=1&lease=$lease&wait=20s" >"$claim" & asking=$!
    if ! wait "$asking"; then
        [ -n "$stopping" ] || { say "the inbox does not answer; again in $pause s"; wait_longer; }
        continue
    fi
    asking='' pause=1
    { read -r token && read -r id && read -r attempt && read -r type; } \
        < <(jq --raw-output '.events[] | .token, .message_id, .attempt, .type' "$claim") || continue
    while true; do
        if reached=$(try); then
            # Where that fails, or the lease ran out meanwhile, the event comes again, and its row is there.
            answer ack || say "$id: done, not acknowledged"
            break
        elif [ -n "$reached" ]; then
            # Its own fault, as far as can be told. It waits while others go on; after sink.max_attempts it is poison.
            delay=$((attempt < 9 ? 2 ** (attempt - 1) : 300))s
            say "$id: failed, attempt $attempt, again in $delay"
            answer nack ",\"delay\":\"$delay\"" || true
            break
        fi
        say "$id: the database is away, again in $pause s"
        answer extend ',"lease":"90s"' || true
        wait_longer
        [ -z "$stopping" ] || { answer nack || true; break; }
    done
done
