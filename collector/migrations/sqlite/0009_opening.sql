-- Which record of its device opened a run: its header is read from there. A second copy cost every acknowledged run a page to write.
-- `header` is left to imported runs, which have no records.
ALTER TABLE run ADD COLUMN opened_epoch INTEGER;
ALTER TABLE run ADD COLUMN opened_seq INTEGER;
-- 12: the key of field 2 of a record, `run_opened`.
UPDATE run SET (opened_epoch, opened_seq) = (
    SELECT epoch, seq FROM record
    WHERE record.run = run.id AND record.device = run.device AND problem IS NULL AND substr(received, 1, 1) = x'12'
    ORDER BY epoch, seq LIMIT 1
) WHERE header IS NOT NULL;
UPDATE run SET header = NULL WHERE opened_seq IS NOT NULL;
