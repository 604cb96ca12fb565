"""Jobs: what a job file may say, and the directory in which a job keeps its files."""
