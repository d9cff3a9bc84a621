-- What the first page asks of every device: how many runs and cells it has, and which run began last.
CREATE INDEX run_of_device ON run (device, started_us, id);
CREATE INDEX cell_of_device ON cell (device);
