-- Result files of other tools, as they came, and what could be read from them.

-- A file, once, by its digest.
CREATE TABLE import (
    sha256      BLOB    NOT NULL PRIMARY KEY,
    -- What it was called where it came from.
    name        TEXT    NOT NULL,
    -- Which tool wrote it.
    tool        TEXT    NOT NULL,
    -- What was said about it: JSON, label to value.
    labels      TEXT    NOT NULL,
    imported_us INTEGER NOT NULL,
    -- Who did it.
    imported_by TEXT    NOT NULL,
    n_bytes     INTEGER NOT NULL
) STRICT;

-- Its bytes, in pieces, so that nobody has to hold all of them.
CREATE TABLE import_part (
    sha256 BLOB    NOT NULL REFERENCES import (sha256),
    -- 0, 1, 2 …
    place  INTEGER NOT NULL,
    bytes  BLOB    NOT NULL,
    PRIMARY KEY (sha256, place)
) STRICT;

-- A run of a file: it stands in `run` as one that was delivered, without records.
CREATE TABLE import_run (
    run     BLOB    NOT NULL PRIMARY KEY REFERENCES run (id),
    sha256  BLOB    NOT NULL REFERENCES import (sha256),
    -- In the order of the file.
    number  INTEGER NOT NULL,
    -- Where in the file, in words.
    place   TEXT    NOT NULL,
    -- Of the tool, if the file says it.
    version TEXT,
    -- Every value with its definition, unit and name in the file: a JSON list.
    figures TEXT    NOT NULL,
    -- RunReport made from them.
    report  TEXT    NOT NULL,
    -- SHA-256 of tool, device, cell, start and values: a run that stands in several files counts once.
    content BLOB    NOT NULL UNIQUE,
    UNIQUE (sha256, number)
) STRICT;
