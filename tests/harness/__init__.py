"""What the integration and the fault tests share beside the servers of devstack.

ids: names and tokens of made-up endpoints. http: requests as a client makes them. stores: what is
in a store, seen past our programs. launch: our programs, held to a clean end. deletions: events and
their completions. records: what Redis has of them. committed: a consumer group's offsets. chance:
sizes and moments. proxy: a server that is away, slow or cut off. unwilling: an S3 server that refuses.
scripted: one that says what no server of ours would. compute: a folder that passes for PGDATA, and
epufs-compute at work on it.
"""
