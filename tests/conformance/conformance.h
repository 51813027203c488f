/* conformance.h - what the cases of the conformance suite are written with.
 *
 * A case is a function that works below a prefix of its own, in t->s, and ends by returning (it
 * passed), by t_fail() or t_skip() (which do not return). It names expectations, not steps:
 *
 *     t_ok(t_put(t, "k", "0123456789", 10, NULL));
 *     t_code(t_get(t, "k", &(struct store_get_opts){.offset = 10}), STORE_BAD_RANGE);
 *
 * Operations come as a struct result, whose memory is the case's and lives until after its loop was
 * freed, so that a case may end with operations under way. What store.h promises of every operation
 * is checked in every case: no call-back from inside the call that starts it, exactly one `done`,
 * one `head` before the data, one page before `done`, pages in bytewise order. */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

#include <setjmp.h>
#include <string.h>
#include <sys/types.h>

#include <store/store.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    PART = 5 * MIB,       /* the smallest part that S3 takes */
    WAIT_MS = 60000,      /* for any one operation */
    CASE_TIMEOUT_S = 240, /* then the case counts as hung */
    MAX_STORES = 8,       /* that one case opens */
    MAX_PAGES = 100000,   /* of one listing: more is an endless one */
    PATTERN_LINE = 8,     /* bytes of the pattern that name their own place */
    TEXT_SIZE = 512,      /* of a printable key or message */
};

struct result;

struct test {
    store *s;         /* the case's own part of the store; a case may put another one here */
    store *root;      /* the whole, as the URL names it */
    store_loop *loop; /* where t_* start operations */
    const char *url;
    const char *prefix; /* of the case within root */
    bool is_s3;         /* for what the headers say of one driver only */
    bool keeps_versions;

    /* The harness's own. */
    store *opened[MAX_STORES];
    size_t n_opened;
    struct block *blocks;    /* what t_alloc() gave */
    struct result *results;  /* all operations of the case */
    jmp_buf end;             /* where t_fail() and t_skip() go */
    char broken[TEXT_SIZE];  /* the first rule that a call-back saw broken */
    char message[TEXT_SIZE]; /* why it failed or was skipped */
};

/* ---- A case's life (harness.c) ---- */

struct test_case {
    const char *name;
    void (*run)(struct test *t);
};
/* clang-format off */
#define CASE(function) {#function, function}
/* clang-format on */

struct test_group {
    const char *name;
    const struct test_case *cases;
    size_t n;
};
extern const struct test_group args_group, put_group, stream_group, multipart_group, get_group,
    condition_group, meta_group, copy_group, key_group, list_group, delete_group, purge_group,
    version_group, narrow_group, compress_group, cancel_group, loop_group;

enum verdict { PASSED, FAILED, SKIPPED };

/* Runs one case below root's `prefix`; t->message says why it did not pass. Removes what it left.
 */
enum verdict test_run(struct test *t, const struct test_case *c);

_Noreturn void t_fail(struct test *t, const char *fmt, ...) STORE_PRINTF_LIKE(2, 3);
/* Only where a header says that drivers or backends differ. */
_Noreturn void t_skip(struct test *t, const char *fmt, ...) STORE_PRINTF_LIKE(2, 3);
#define EXPECT(t, condition, ...)   \
    do {                            \
        if (!(condition))           \
            t_fail(t, __VA_ARGS__); \
    } while (0)
/* For call-backs, which must return: the case fails when it ends. */
void t_broken(struct test *t, const char *fmt, ...) STORE_PRINTF_LIKE(2, 3);

void *t_alloc(struct test *t, size_t n);       /* zeroed; freed behind the case. Never NULL */
char *t_strdup(struct test *t, const char *s); /* NULL gives "" */
char *t_printf(struct test *t, const char *fmt, ...) STORE_PRINTF_LIKE(2, 3);
const char *t_shown(struct test *t, const char *key); /* in quotes, with \x for the unprintable */

/* The case's part of the store, opened anew with conf. Closed behind the case. */
store *t_open(struct test *t, const struct store_conf *conf);
store *t_narrow(struct test *t, store *s, const char *prefix); /* likewise */

/* ---- Operations (calls.c) ---- */

struct source; /* what a streamed put reads; below */

/* An operation: under way (n_done 0), done, or refused. */
struct result {
    struct test *t;
    const char *what; /* such as: put 'k' */
    store_loop *loop;
    store_op *op; /* valid while n_done is 0 and refused is not set */
    bool refused; /* the call returned NULL, with err */
    struct store_err err;
    struct store_info info; /* as `done` told it */
    struct store_info head; /* get: as `head` told it */
    unsigned n_head, n_page, n_done;
    /* Get */
    char *data;
    size_t size, cap;
    bool slow;   /* pauses after each piece of data; t_wait() resumes */
    bool hold;   /* t_wait() must not: the case does */
    bool paused; /* and not yet resumed */
    size_t
        cancel_from; /* cancels itself from inside the data call-back at this many bytes; 0: no */
    /* Put */
    struct source *source; /* the case's copy */
    /* List */
    enum store_list_kind kind;
    uint32_t max;
    struct store_entry *entries;
    size_t n;
    const char *next_token;
    int64_t server_time_s;
    /* Delete prefix */
    struct store_progress progress; /* the latest, the cursor copied */
    unsigned n_progress;
    unsigned stop_after; /* progress call-backs; 0: does not stop */
    struct result *next;
};

/* Runs r's loop until it is done. Fails the case when that takes WAIT_MS. Returns r. */
struct result *t_wait(struct result *r);
/* Runs it until the put's source holds at hold_at; go on with `r->source->held = false`. */
void t_wait_held(struct result *r);
/* Holds a get and runs the loop until it pauses. */
void t_hold(struct result *r);
void t_run(struct test *t, store_loop *loop, int ms); /* runs a loop for so long */
uint64_t t_now_ms(void);

/* Fails the case unless r ended so. Return r. A refusal is what the call itself returns. */
struct result *t_ok(struct result *r);
struct result *t_code(struct result *r, enum store_code code); /* not refused */
struct result *t_refused(struct result *r);                    /* with STORE_INVALID */

/* Each starts an operation in t->s on t->loop; those without _start wait for it, too. */
struct result *t_put_start(struct test *t, const char *key, const void *bytes, size_t size,
                           const struct store_put_opts *opts);
struct result *t_put(struct test *t, const char *key, const void *bytes, size_t size,
                     const struct store_put_opts *opts);
struct result *t_stream_start(struct test *t, const char *key, uint64_t size,
                              const struct source *source, const struct store_put_opts *opts);
struct result *t_stream(struct test *t, const char *key, uint64_t size, const struct source *source,
                        const struct store_put_opts *opts);
struct result *t_get_start(struct test *t, const char *key, const struct store_get_opts *opts);
struct result *t_get(struct test *t, const char *key, const struct store_get_opts *opts);
struct result *t_head_start(struct test *t, const char *key, uint32_t timeout_ms);
struct result *t_head(struct test *t, const char *key);
struct result *t_copy(struct test *t, const char *from, const char *to,
                      const struct store_copy_opts *opts);
struct result *t_list_start(struct test *t, const char *prefix, const struct store_list_opts *opts);
struct result *t_list(struct test *t, const char *prefix, const struct store_list_opts *opts);
struct result *t_delete(struct test *t, const char *key);
struct result *t_delete_many(struct test *t, const char *const *keys, size_t n);
struct result *t_delete_listed(struct test *t, enum store_list_kind kind,
                               const struct store_entry *entries, size_t n);
struct result *t_purge_start(struct test *t, const char *prefix,
                             const struct store_delete_prefix_opts *opts, unsigned stop_after);
struct result *t_purge(struct test *t, const char *prefix,
                       const struct store_delete_prefix_opts *opts);

/* ---- What is built of them (checks.c) ---- */

struct result *t_put_text(struct test *t, const char *key, const char *text); /* must succeed */
/* Puts all of them, many at a time; each holds its own key. */
void t_put_keys(struct test *t, const char *const *keys, size_t n);
/* All pages as one; must succeed. */
struct result *t_list_all(struct test *t, const char *prefix, const struct store_list_opts *opts);
/* That a listing has exactly these keys; groups count as keys. `keys` need not be sorted. */
void t_keys(struct result *listing, const char *const *keys, size_t n);
void t_has_keys(struct test *t, const char *prefix, const char *const *keys, size_t n);
void t_empty(struct test *t, const char *prefix); /* nothing is listed */
void t_holds(struct test *t, const char *key, const void *bytes, size_t size); /* exactly this */
void t_holds_text(struct test *t, const char *key, const char *text);
void t_absent(struct test *t, const char *key);
/* n keys that are "PREFIXnnnnnn" with `spread` folders between; the case's memory. */
const char *const *t_numbered(struct test *t, const char *prefix, size_t n, size_t spread);

/* Bytes that tell their own place, so that lost, doubled or misplaced parts are seen. */
void pattern_fill(void *buf, uint64_t offset, size_t n);
void *t_pattern(struct test *t, size_t n);
void t_is_pattern(struct result *get, uint64_t offset, uint64_t size); /* what a get brought */

/* A read call-back's bytes. */
struct source {
    const char *bytes;   /* NULL: of the pattern */
    uint64_t size;       /* so many, then 0 */
    size_t chunk;        /* at most so many a call; 0: what fits */
    unsigned pause_each; /* pauses before every n-th call; 0: never */
    uint64_t hold_at;    /* pauses once so many were given, until `held` is reset; 0: never */
    uint64_t abort_at;   /* aborts once so many were given; 0: never */
    bool abort_at_once;
    /* What happened. */
    uint64_t given;
    unsigned calls;
    bool held, ended;
};
ssize_t source_read(struct result *r, void *buf, size_t cap);

#endif
