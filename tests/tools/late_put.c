/* late-put ENDPOINT memory|stream BYTES TIMEOUT_MS - puts one object of BYTES with an upload that
 * expires, for tests that stop or kill it midway. Prints "begun" when the operation has begun and
 * the name of its outcome, such as "ok" or "timeout", when it is done. Status 0 whatever that is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

#include "base/clock.h"
#include "base/xalloc.h"

enum { EXPIRES_S = 60 };

static bool done;

static ssize_t fill(void *user, void *buf, size_t cap)
{
    (void)user;
    memset(buf, 's', cap);
    return (ssize_t)cap;
}

static void on_done(void *user, const struct store_err *err, const struct store_info *info)
{
    (void)user;
    (void)info;
    puts(store_code_name(err->code));
    fprintf(stderr, "%s\n", err->msg);
    done = true;
}

static int run(store *s, bool in_memory, size_t size, uint32_t timeout_ms, struct store_err *err)
{
    static const struct store_put_cb cb = {fill, on_done};
    const struct store_put_opts opts = {
        .timeout_ms = timeout_ms, .signed_at_s = clock_real_s(), .expires_in_s = EXPIRES_S};
    store_loop *loop = NULL;
    if (store_loop_new(&loop, err) != 0)
        return -1;
    char *bytes = xcalloc(1, size);
    store_op *op = in_memory
                       ? store_put_bytes(s, loop, "late", bytes, size, &opts, on_done, NULL, err)
                       : store_put(s, loop, "late", size, &opts, &cb, NULL, err);
    int rc = op ? 0 : -1;
    if (op)
        puts("begun");
    while (rc == 0 && !done)
        rc = store_loop_run(loop, -1, err);
    store_loop_free(loop);
    free(bytes);
    return rc;
}

int main(int argc, char **argv)
{
    struct store_err err = {0};
    store *s = NULL;
    if (argc != 5) {
        fprintf(stderr, "late-put ENDPOINT memory|stream BYTES TIMEOUT_MS\n");
        return 2;
    }
    const struct store_conf conf = {.endpoint = argv[1],
                                    .region = "eu-test-1",
                                    .access_key = "AKIDTEST",
                                    .secret_key = "secret"};
    setvbuf(stdout, NULL, _IOLBF, 0);
    int rc = store_open("s3://bucket", &conf, &s, &err);
    if (rc == 0)
        rc = run(s, strcmp(argv[2], "memory") == 0, strtoul(argv[3], NULL, 10),
                 (uint32_t)strtoul(argv[4], NULL, 10), &err);
    if (rc != 0)
        fprintf(stderr, "late-put: %s\n", err.msg);
    store_close(s);
    return rc == 0 ? 0 : 1;
}
