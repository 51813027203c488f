/* s3_model.h - an S3 store (fake_s3.h, a FAKE) with known objects, operations that change them, and
 * a check of what is there: for programs that disturb it. Whatever is not as it should be ends the
 * process with a message: torture.h. */
#ifndef TESTS_TOOLS_S3_MODEL_H
#define TESTS_TOOLS_S3_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/store.h>

enum { S3_MODEL_KEYS = 7, S3_MODEL_ABSENT = -1, S3_MODEL_MANY = 300 };

/* What each key holds: the number of a content, or S3_MODEL_ABSENT. */
struct s3_model_state {
    int holds[S3_MODEL_KEYS];
    bool many_gone; /* the S3_MODEL_MANY objects below a prefix of their own */
};

/* One operation under way; zeroed by whoever begins it, but for s and loop. */
struct s3_model_run {
    store *s;
    store_loop *loop;
    unsigned ends; /* calls of `done` */
    struct store_err err;
    size_t given;  /* puts: bytes that the caller gave */
    size_t taken;  /* gets: bytes that came, */
    bool differs;  /* and whether they, or what was told, are others than expected */
    size_t listed; /* keys in the pages so far */
    unsigned pages;
    char token[2 * STORE_MAX_KEY];
};

struct s3_model_scenario {
    const char *name;
    struct s3_model_state after; /* when it succeeded; when not, each object may be as before too */
    store_op *(*start)(struct s3_model_run *r);
    bool (*is_right)(const struct s3_model_run *r); /* of what it read; NULL: it reads nothing */
    bool gives_up;                                  /* the caller does; it never succeeds */
    bool large;     /* thousands of calls, most of them like their neighbours */
    bool libraries; /* also with the allocations of the libraries below failing */
};
extern const struct s3_model_scenario s3_model_scenarios[];
extern const size_t s3_model_n_scenarios;

/* Starts the fake and fills it. To be called once, before the others, while there is one thread. */
void s3_model_begin(void);
void s3_model_end(void);
/* -1 with *err set. */
int s3_model_open(store **s, struct store_err *err);
/* Makes it hold again what it had in the beginning. */
void s3_model_reset(void);
/* Runs r's loop until the operation has ended. */
void s3_model_finish(struct s3_model_run *r);
/* Checks every object (bytes, size, type, metadata). succeeded: all must be as `after` says; else
 * each as before or after. */
void s3_model_check(const struct s3_model_scenario *m, bool succeeded);

#endif
