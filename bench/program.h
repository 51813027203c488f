/* program.h - what the benchmark's own programs share: arguments, and what a run has used. */
#ifndef BENCH_PROGRAM_H
#define BENCH_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number of 1 to max, or the end of the program with status 2. */
uint64_t program_number(const char *program, const char *text, uint64_t max);

/* PROGRAM get|put WHERE BYTES COUNT IN_FLIGHT [CA_FILE] */
struct transfer_args {
    bool put;
    const char *where; /* a store's URL, or http(s)://host:port/bucket */
    uint64_t bytes;    /* of each object */
    uint64_t count;    /* requests that are measured */
    uint64_t in_flight;
    const char *ca_file; /* NULL: none was given */
};
enum { TRANSFER_MAX_BYTES = 1 << 30, TRANSFER_MAX_COUNT = 100 * 1000 * 1000 };
enum { TRANSFER_MAX_IN_FLIGHT = 1024 };
void transfer_args_read(struct transfer_args *args, const char *program, int argc, char **argv);
/* The key of all requests: an object of so many bytes of the fake store, or of a folder of files.
 */
void transfer_key(const struct transfer_args *args, char *out, size_t cap);

struct usage {
    uint64_t wall_us;
    double cpu_s; /* of the whole process */
};
struct usage usage_now(void);
/* Prints one line of JSON: count, seconds, cpu_seconds since then; peak_kib of the process. */
void usage_print(struct usage since, uint64_t count);

#endif
