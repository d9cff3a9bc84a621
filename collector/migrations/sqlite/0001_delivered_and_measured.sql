-- What was delivered, what was made of it, and a cache over both. Integers, bytes and text only, so that the same model
-- stands on PostgreSQL later; times in microseconds since 1970, documents as JSON text.

-- A device that said hello.
CREATE TABLE device (
    id            TEXT NOT NULL PRIMARY KEY,
    agent_version TEXT NOT NULL,
    -- DeviceProfile, the latest delivered.
    profile       TEXT
) STRICT;

-- How far each life of a device's spool has been delivered: everything up to `through` is committed.
CREATE TABLE stream (
    device  TEXT    NOT NULL REFERENCES device (id),
    epoch   INTEGER NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (device, epoch)
) STRICT;

-- Every record as it was received, kept for ever: prost drops fields that it does not know, the bytes do not.
CREATE TABLE record (
    device   TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    -- The run that it is part of; null for what belongs to none.
    run      BLOB,
    -- Why it was set aside; null for what counts.
    problem  TEXT,
    received BLOB    NOT NULL,
    PRIMARY KEY (device, epoch, seq),
    FOREIGN KEY (device, epoch) REFERENCES stream (device, epoch)
) STRICT;
CREATE INDEX record_of_run ON record (run, epoch, seq) WHERE run IS NOT NULL;
CREATE INDEX record_set_aside ON record (device) WHERE problem IS NOT NULL;

-- A run, from its first record on. The id is the agent's, and admits the run once, for ever.
CREATE TABLE run (
    id           BLOB    NOT NULL PRIMARY KEY,
    device       TEXT    NOT NULL REFERENCES device (id),
    -- open, finished (all delivered, not measured yet), complete (measured), unreadable
    state        TEXT    NOT NULL,
    started_us   INTEGER,
    -- RunHeader.
    header       TEXT,
    -- RunReport as the agent computed it, and as we did from the trace.
    agent_report TEXT,
    report       TEXT,
    -- Keys in which the two differ: a JSON list.
    differs      TEXT,
    -- Key of its cell.
    cell         BLOB,
    -- Why it is unreadable.
    problem      TEXT
) STRICT;
CREATE INDEX run_in_state ON run (state);
CREATE INDEX run_by_start ON run (started_us, id);
CREATE INDEX run_of_cell ON run (cell, id) WHERE cell IS NOT NULL;

-- Cache, rebuilt from the reports byte for byte: what the repetitions of a configuration come to.
CREATE TABLE cell (
    -- SHA-256 of `name`.
    key    BLOB NOT NULL PRIMARY KEY,
    device TEXT NOT NULL REFERENCES device (id),
    -- Device, identity and configuration: JSON.
    name   TEXT NOT NULL,
    -- Number of runs, and the spread of every figure: JSON.
    rollup TEXT NOT NULL
) STRICT;
