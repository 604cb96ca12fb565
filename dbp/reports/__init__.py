"""A job as one self-contained HTML page: facts in, text out. Nothing here reads a table or trains; see `dbp.workers.report`."""
