#include "bench/program.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/codec.h"

uint64_t program_number(const char *program, const char *text, uint64_t max)
{
    uint64_t n;
    if (!parse_u64(text, strlen(text), &n) || n == 0 || n > max) {
        fprintf(stderr, "%s: '%s': expected 1 to %" PRIu64 "\n", program, text, max);
        exit(2);
    }
    return n;
}

void transfer_args_read(struct transfer_args *args, const char *program, int argc, char **argv)
{
    bool put = argc > 1 && strcmp(argv[1], "put") == 0;
    if ((argc != 6 && argc != 7) || (!put && strcmp(argv[1], "get") != 0)) {
        fprintf(stderr, "Usage: %s get|put WHERE BYTES COUNT IN_FLIGHT [CA_FILE]\n", program);
        exit(2);
    }
    *args = (struct transfer_args){
        .put = put,
        .where = argv[2],
        .bytes = program_number(program, argv[3], TRANSFER_MAX_BYTES),
        .count = program_number(program, argv[4], TRANSFER_MAX_COUNT),
        .in_flight = program_number(program, argv[5], TRANSFER_MAX_IN_FLIGHT),
        .ca_file = argc == 7 ? argv[6] : NULL,
    };
}

void transfer_key(const struct transfer_args *args, char *out, size_t cap)
{
    snprintf(out, cap, "bytes/%" PRIu64 "/tenants/1/timelines/2/file", args->bytes);
}

struct usage usage_now(void)
{
    struct timespec wall, cpu;
    clock_gettime(CLOCK_MONOTONIC, &wall);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (struct usage){
        .wall_us = (uint64_t)wall.tv_sec * 1000000 + (uint64_t)wall.tv_nsec / 1000,
        .cpu_s = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9,
    };
}

/* Not ru_maxrss, which begins with that of the process that started this one. */
static unsigned long peak_kib(void)
{
    char line[256];
    unsigned long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof(line), status))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtoul(line + 6, NULL, 10);
    if (status)
        fclose(status);
    return kib;
}

void usage_print(struct usage since, uint64_t count)
{
    struct usage now = usage_now();
    printf("{\"count\":%" PRIu64 ",\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"peak_kib\":%lu}\n",
           count, (double)(now.wall_us - since.wall_us) / 1e6, now.cpu_s - since.cpu_s, peak_kib());
}
