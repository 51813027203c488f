/* keys.h - a set of credentials as one value, and memory with secrets, which is wiped before it is
 * freed. */
#ifndef LIBSTORE_S3_KEYS_H
#define LIBSTORE_S3_KEYS_H

#include <stdint.h>

#include <store/error.h>

#include "base/buf.h"

struct keys { /* zeroed at first: none; yours: keys_wipe() */
    char *access_key, *secret_key;
    char *session_token; /* NULL: none */
    uint64_t valid_ms;   /* counted from when they were handed out; 0: they do not expire */
};

/* What is wrong with them (a constant), or NULL: both keys must be there and nothing may hold what
 * a header cannot carry. session_token may be NULL. */
const char *keys_problem(const char *access_key, const char *secret_key, const char *session_token);
/* Copies the strings into *k, which is wiped first. Returns -1 with STORE_NO_MEMORY. */
int keys_set(struct keys *k, const char *access_key, const char *secret_key,
             const char *session_token, struct store_err *err);
void keys_wipe(struct keys *k);
/* Wipes *to, then hands it what is in *from, which is empty afterwards. */
void keys_move(struct keys *to, struct keys *from);

/* Wipes and frees a string, and sets it to NULL. */
void secret_free(char **secret);
/* Wipes and frees what a buffer holds. What it held before it grew is out of reach: reserve ahead.
 */
void secret_buf_cleanup(struct buf *b);

#endif
