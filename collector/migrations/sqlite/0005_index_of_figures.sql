-- Index of the figures, rebuilt from the reports byte for byte: a board reads the figures of one metric, and no report.

-- A cell in the index. One of which no run counts any more keeps its row, without a run.
CREATE TABLE indexed_cell (
    -- Its place: cells that were first measured after each other stand beside each other.
    number   INTEGER PRIMARY KEY,
    -- Its key.
    cell     BLOB    NOT NULL UNIQUE,
    -- One more with each change of any cell: who has read up to one of them asks for what is above it.
    revision INTEGER NOT NULL UNIQUE,
    -- What ranking reads of its runs beside their figures: `collector/src/rank/index.rs`.
    runs     BLOB    NOT NULL,
    -- Metrics of which it has figures: a JSON list.
    metrics  TEXT    NOT NULL
) STRICT;

-- The figures of a cell's runs for one metric; those of one metric stand together.
CREATE TABLE figure (
    -- `id` or `id@scope`.
    metric TEXT    NOT NULL,
    cell   INTEGER NOT NULL REFERENCES indexed_cell (number),
    -- In the order of the runs: the same place describes it.
    packed BLOB    NOT NULL,
    PRIMARY KEY (metric, cell)
) STRICT, WITHOUT ROWID;

-- Cells of an earlier version are indexed by making them anew.
INSERT INTO stale_cell (cell, n_changes) SELECT key, 1 FROM cell WHERE true
ON CONFLICT (cell) DO UPDATE SET n_changes = n_changes + 1;
