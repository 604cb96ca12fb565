"""Everything of dbp that imports Ray: the actors, the pool of them, and `train`."""

import os

# Ray prints the raylet's report of a dead worker on the driver's standard output. A death is an event of the pool, which
# tells of it in one sentence, and standard output is for results. Ray reads this when it is imported, so it is set before.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed while executing a task")
