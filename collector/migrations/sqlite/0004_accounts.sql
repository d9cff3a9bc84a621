-- What was expected, and what of it is not here: duplicates, and what retention took.

-- Records of this stream that are not stored again, because their run has the same bytes from another epoch:
-- through = rows of `record` + held, for every stream. What was not counted before this migration is the difference; a device with one
-- epoch cannot have such records, and what it misses is lost.
ALTER TABLE stream ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
UPDATE stream SET held = through - (
    SELECT count(*) FROM record WHERE record.device = stream.device AND record.epoch = stream.epoch
) WHERE device IN (SELECT device FROM stream GROUP BY device HAVING count(*) > 1);

-- SHA-256 of the bytes as they were received, where a declared gap stands in their place; null where they are as they came.
ALTER TABLE record ADD COLUMN replaced BLOB;

-- When it was measured, by the collector's clock; null before, and until retention first looks at a run of an older collector.
ALTER TABLE run ADD COLUMN measured_us INTEGER;
-- Its raw power samples: kept, going (some are gaps by now), gone.
ALTER TABLE run ADD COLUMN raw_samples TEXT NOT NULL DEFAULT 'kept';
CREATE INDEX run_with_raw_samples ON run (measured_us) WHERE state = 'complete' AND raw_samples <> 'gone';
