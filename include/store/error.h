/* error.h - how libstore, and the programs built on it, report failure.
 *
 * A function that can fail returns 0 or -1 (or a pointer or NULL) and fills the struct store_err
 * that its caller passed in. A code exists where some caller acts on it; everything else is
 * STORE_FAILED with a message. The message is one line that names the operation, the object and
 * the cause, and never holds a secret. Whoever stops an error logs it, once.
 */
#ifndef STORE_ERROR_H
#define STORE_ERROR_H

#include <stdarg.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define STORE_API               __attribute__((visibility("default")))
#define STORE_PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#else
#define STORE_API
#define STORE_PRINTF_LIKE(f, a)
#endif

enum store_code {
    STORE_OK = 0,
    STORE_NOT_FOUND,    /* no such object; a bucket that is missing is STORE_FAILED */
    STORE_PRECONDITION, /* If-Match or If-None-Match: * did not hold */
    STORE_NOT_MODIFIED, /* If-None-Match or If-Modified-Since: the caller's copy is current */
    STORE_BAD_RANGE,    /* the range starts behind the end of the object */
    STORE_INVALID,      /* the caller's argument, or input from outside, is malformed */
    STORE_DENIED,       /* credentials, permissions, a certificate; a person must look */
    STORE_BUSY,         /* overload or outage of the backend; the same call may work later */
    STORE_TIMEOUT,      /* the operation's deadline passed */
    STORE_EXPIRED,      /* a put came after its expiry; nothing was stored */
    STORE_NO_SPACE,     /* disk or quota full */
    STORE_CORRUPT,      /* length or checksum differ from what was promised */
    STORE_CANCELED,     /* store_op_cancel() */
    STORE_NO_MEMORY,    /* an allocation failed, or a buffer's ceiling was reached */
    STORE_FAILED,       /* anything else; msg says what */
};

struct store_err {
    enum store_code code;
    int sys_errno;           /* 0: no system call was involved */
    int http_status;         /* 0: the backend did not answer over HTTP */
    uint32_t retry_after_ms; /* 0: the backend gave no hint */
    char msg[256];
};

/* Sets *err and returns -1, so that a failing function ends in one line:
 *     return store_err_set(err, STORE_INVALID, "key '%s' leaves the store", key);
 * err may be NULL: then only the -1 is left. */
STORE_API int store_err_set(struct store_err *err, enum store_code code, const char *fmt, ...)
    STORE_PRINTF_LIKE(3, 4);

/* The same for a failed system call: the code is derived from sys_errno (ENOSPC and EDQUOT become
 * STORE_NO_SPACE, EACCES and EPERM STORE_DENIED, ENOENT STORE_NOT_FOUND, ENOMEM STORE_NO_MEMORY)
 * and its text is put behind the message. */
STORE_API int store_err_errno(struct store_err *err, int sys_errno, const char *fmt, ...)
    STORE_PRINTF_LIKE(3, 4);

/* A short lower-case name such as "not_found"; for logs and metrics. Never NULL. */
STORE_API const char *store_code_name(enum store_code code);

#ifdef __cplusplus
}
#endif
#endif
