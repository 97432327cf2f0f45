"""Runs rounds of /bin/true jobs on a HyperQueue cluster of this process's own.

Arguments: folder, slots. Reads the number of jobs of each round from standard input and answers
each with the seconds it took, as one line of JSON. Ends with its input.
"""

import importlib.metadata
import json
import os
import sys
import time

from hyperqueue import Job
from hyperqueue.cluster import LocalCluster, WorkerConfig

PAUSE = 0.01  # seconds between two looks


class NotYet(Exception):
    """Some jobs have not ended."""


def wait(client, ids):
    """The package's own wait looks once a second; leaving it at each look makes it precise."""

    def look(jobs):
        if not all(job["completed"] for job in jobs.values()):
            raise NotYet

    while True:
        try:
            return client.connection.wait_for_jobs(ids, look)
        except NotYet:
            time.sleep(PAUSE)


def run(client, count):
    started = time.perf_counter()
    ids = []
    for _ in range(count):
        job = Job()
        job.program(["/bin/true"])
        ids.append(client.submit(job).id)
    failed = wait(client, tuple(ids))
    if failed:
        return {"error": f"{len(failed)} jobs failed"}
    return {"seconds": time.perf_counter() - started}


def main():
    # The cluster prints to standard output by itself; answers go to a copy of it.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    folder, slots = sys.argv[1], int(sys.argv[2])
    os.chdir(folder)
    with LocalCluster(folder, WorkerConfig(cores=slots)) as cluster:
        client = cluster.client()
        print(json.dumps({"version": importlib.metadata.version("hyperqueue")}), file=answers)
        for line in sys.stdin:
            print(json.dumps(run(client, int(line))), file=answers)


if __name__ == "__main__":
    main()
