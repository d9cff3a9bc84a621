-- Campaigns, their jobs, and what devices offer. Leases are not here: they are kept in memory, and a collector that was started anew
-- gives every leased job a new one. What must survive is who has which attempt.

-- What a device can be asked for, as it last said.
CREATE TABLE offer (
    device TEXT NOT NULL PRIMARY KEY REFERENCES device (id),
    -- Offer.
    offer  TEXT NOT NULL
) STRICT;

CREATE TABLE campaign (
    name        TEXT    NOT NULL PRIMARY KEY,
    -- 1, 2, 3 … in the order of creation, which is the order of work on each device.
    number      INTEGER NOT NULL UNIQUE,
    created_us  INTEGER NOT NULL,
    -- Campaign, as it was asked for.
    asked       TEXT    NOT NULL,
    -- Its deadline, to be looked for; null: none.
    deadline_us INTEGER
) STRICT;

-- A campaign's part for one device. The device need not have said hello.
CREATE TABLE job (
    id           BLOB    NOT NULL PRIMARY KEY,
    campaign     TEXT    NOT NULL REFERENCES campaign (name),
    device       TEXT    NOT NULL,
    -- waiting, leased, lost; done, refused, failed, cancelled, expired
    state        TEXT    NOT NULL,
    -- The latest lease; 0 before the first. Only what it says counts.
    attempt      INTEGER NOT NULL,
    -- Attempts that failed or were lost for good.
    n_failed     INTEGER NOT NULL,
    -- 1: the device has said a word of the latest lease; 0: its assignment may have been lost on its way.
    has_begun    INTEGER NOT NULL,
    -- 1: to be ended as soon as the device that has it says so, or is silent.
    is_cancelled INTEGER NOT NULL,
    -- Why it did not go well.
    reason       TEXT,
    UNIQUE (campaign, device)
) STRICT;
CREATE INDEX job_open ON job (device) WHERE state IN ('waiting', 'leased', 'lost');
-- One job at a time on a device, whatever the program does.
CREATE UNIQUE INDEX job_in_hand ON job (device) WHERE state IN ('leased', 'lost');

-- What a job that is done measured, in its order.
CREATE TABLE job_run (
    job   BLOB    NOT NULL REFERENCES job (id),
    place INTEGER NOT NULL,
    run   BLOB    NOT NULL,
    PRIMARY KEY (job, place)
) STRICT;
CREATE INDEX job_run_by_run ON job_run (run, job);

-- For which lease of which job a run was made, as its header says; null where a person asked.
ALTER TABLE run ADD COLUMN job BLOB;
ALTER TABLE run ADD COLUMN attempt INTEGER;
CREATE INDEX run_of_job ON run (job) WHERE job IS NOT NULL;

-- Runs that are kept and do not count, since another attempt does or none: a view, so that it does not matter whether the run or
-- the end of its job arrives first. Of a job that is done, those count that its end named; of one that is in hand, those of the current
-- attempt; of every other none. A job that is not known here says nothing about a run.
CREATE VIEW uncounted_run AS
SELECT run.id AS run
FROM run JOIN job ON job.id = run.job AND job.device = run.device
WHERE NOT (job.state IN ('leased', 'lost') AND job.attempt = run.attempt)
  AND NOT (job.state = 'done'
           AND EXISTS (SELECT 1 FROM job_run WHERE job_run.run = run.id AND job_run.job = job.id));

-- Cells to be made again, because which of their runs count may have changed; and how often that was since they were made.
CREATE TABLE stale_cell (
    cell      BLOB    NOT NULL PRIMARY KEY,
    n_changes INTEGER NOT NULL
) STRICT;
