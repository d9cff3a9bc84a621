-- Who may do what: tokens, certificates, labels.

-- A token, from the moment it is made; kept when it is used up, so that it can be said why it is not good any more.
CREATE TABLE token (
    -- Its public part.
    id            TEXT    NOT NULL PRIMARY KEY,
    -- Of its secret part, which is kept nowhere.
    secret_sha256 BLOB    NOT NULL,
    -- device, viewer, operator
    role          TEXT    NOT NULL,
    -- The only name that it enrols; null: any.
    name          TEXT,
    -- Whether a name that has a certificate may get another one by it.
    may_replace   INTEGER NOT NULL,
    created_us    INTEGER NOT NULL,
    created_by    TEXT    NOT NULL,
    expires_us    INTEGER NOT NULL,
    -- When, and whom it enrolled.
    used_us       INTEGER,
    used_by       TEXT,
    revoked_us    INTEGER
) STRICT;

-- Every certificate that was issued to somebody; one that is not here is good for nothing.
CREATE TABLE certificate (
    -- In the order of issue, whatever the clock said.
    number        INTEGER PRIMARY KEY,
    serial        BLOB    NOT NULL UNIQUE,
    role          TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    -- Of its public key.
    key_sha256    BLOB    NOT NULL,
    issued_us     INTEGER NOT NULL,
    not_after_us  INTEGER NOT NULL,
    -- When it was first seen on a connection: from then on the ones before it cannot be renewed.
    first_used_us INTEGER,
    revoked_us    INTEGER,
    revoked_why   TEXT
) STRICT;
CREATE INDEX certificate_of_name ON certificate (role, name, number);

-- What people call devices, to choose among them.
CREATE TABLE device_label (
    device TEXT NOT NULL REFERENCES device (id),
    label  TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (device, label)
) STRICT;
