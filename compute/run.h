/* run.h - wraps the server: load, start, store at intervals, store after a clean stop.
 *
 * Load and store run in processes of their own, so that whatever happens in them, the server is
 * not held up: each has a deadline, after which it is killed, which is harmless at any moment. Our
 * own process only waits for signals and children. Those that a server knows (TERM, INT, QUIT,
 * HUP, USR1, USR2) are passed on to it as they are; as process 1 of a container it also buries
 * whoever is left to it. When it is killed, the kernel sends the server SIGINT, which is Postgres'
 * fast shutdown. */
#ifndef COMPUTE_RUN_H
#define COMPUTE_RUN_H

#include "compute/conf.h"

/* command: NULL-terminated, looked for in PATH. Returns what to exit with: the server's own status;
 * 128 + the signal that ended it, or that ended us before it was started; 127, or 126, when it
 * could not be started. */
int run_server(const struct compute_conf *conf, char **command);

/* A load and a store as a process does them: log lines, and an exit status. */
int run_load(const struct compute_conf *conf);
int run_store(const struct compute_conf *conf);

#endif
