-- One row for each event whose effect is there. Row and effect come with one transaction, so one is never without the other.
CREATE TABLE IF NOT EXISTS handled (
    message_id text PRIMARY KEY,
    handled_at timestamptz NOT NULL DEFAULT now()
);
-- For the nightly DELETE, see README.md.
CREATE INDEX IF NOT EXISTS handled_at ON handled (handled_at);

-- The example's effect: a payment is an entry in an account. A second one would be money that nobody has. Yours stand here.
CREATE TABLE IF NOT EXISTS accounts (id text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS entries (
    account text NOT NULL REFERENCES accounts,
    amount bigint NOT NULL
);
