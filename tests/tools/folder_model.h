/* folder_model.h - a folder store with known objects, operations that change them, and a check of
 * what is there: for programs that kill or disturb it. Whatever is not as it should be ends the
 * process with a message and status 1. */
#ifndef TESTS_TOOLS_FOLDER_MODEL_H
#define TESTS_TOOLS_FOLDER_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include <store/store.h>

enum { MODEL_KEYS = 7, MODEL_ABSENT = -1, MODEL_TIMEOUT_MS = 20000 };

/* What each key holds: the number of a content, or MODEL_ABSENT. */
struct model_state {
    int holds[MODEL_KEYS];
};
extern const struct model_state model_before;

/* One operation under way; zeroed by model_run(). */
struct model_run {
    store *s;
    store_loop *loop;
    bool done;
    struct store_err err;
    size_t given;  /* puts: bytes that the caller gave */
    size_t taken;  /* gets: bytes that came, */
    bool differs;  /* and whether they are others than expected */
    size_t listed; /* keys, */
    bool more;     /* and there are others */
};

struct model_scenario {
    const char *name;
    struct model_state after; /* when it succeeded; when not, each key may be as before too */
    store_op *(*start)(struct model_run *r);
    bool (*is_right)(const struct model_run *r); /* of what it read; NULL: it reads nothing */
};
extern const struct model_scenario model_scenarios[];
extern const size_t model_n_scenarios;

/* What the model remembers of its contents; in memory that is shared with children. To be called
 * once, before the others. */
void model_init(void);
/* Makes the store hold model_before, by puts and deletes. */
void model_reset(store *s);
/* Runs the scenario on a loop of its own. r->err tells how it ended, always within its deadline. */
void model_run(const struct model_scenario *m, store *s, struct model_run *r);
/* Checks every object (bytes, size, type, metadata, ETag, checksum), and that listings of each sort
 * tell exactly those. succeeded: all must be as `after` says; else each as before or after. */
void model_check(store *s, const struct model_scenario *m, bool succeeded);

/* A folder's store with one I/O thread. */
store *model_open(const char *folder);

#endif
