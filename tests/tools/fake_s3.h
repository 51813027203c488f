/* fake_s3.h - a FAKE of an S3 server that keeps what it is told: objects with their heads,
 * multipart uploads, conditions. For programs that disturb libstore's calls and then ask what the
 * store has.
 *
 * It runs in a child process, so that its own calls, memory and descriptors are not the program's;
 * its state is in memory that both see. It checks no signature, knows one bucket of any name, and
 * one page or upload is small; what it does not know ends in 501. On 127.0.0.1, HTTP/1.1.
 *
 * All functions are the parent's. None of them fails: what should not be ends the process with a
 * message. */
#ifndef TESTS_TOOLS_FAKE_S3_H
#define TESTS_TOOLS_FAKE_S3_H

#include <stdbool.h>
#include <stddef.h>

enum { FAKE_S3_KEY = 128, FAKE_S3_HEAD = 1024 };

struct fake_s3_object {
    const char *key;
    const char *head; /* "Content-Type: …\r\nx-amz-meta-…: …\r\n", as it was put */
    const char *bytes;
    size_t size;
};

/* Begins to serve; call it once, while the process has one thread. Returns the port. */
unsigned fake_s3_start(void);
void fake_s3_stop(void);

/* Remembers the objects that are there, and makes it so again: uploads and counts are zero then.
 * What a client asked for on a connection that it has closed is not done any more after it. */
void fake_s3_save(void);
void fake_s3_reset(void);
/* Waits until all connections are closed by their clients. False: some were not within ten seconds.
 */
bool fake_s3_wait_idle(void);

/* *out lives until the next call. */
bool fake_s3_find(const char *key, struct fake_s3_object *out);
size_t fake_s3_count(const char *prefix); /* objects below it */

struct fake_s3_uploads { /* since fake_s3_reset() */
    size_t begun;
    size_t left;    /* neither ended nor aborted */
    size_t unnamed; /* of these, those that no later request has named */
};
struct fake_s3_uploads fake_s3_uploads(void);

#endif
