-- The agent's report is in the record that finishes its run. A second copy cost every acknowledged run as much to write as its report
-- is large, and nothing reads it.
ALTER TABLE run DROP COLUMN agent_report;
