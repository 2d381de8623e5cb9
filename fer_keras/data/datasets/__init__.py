"""One data set a file, found by name: `INFO`, `find`, `source_files`, `read`."""
