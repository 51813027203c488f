#include <store/error.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Keys and answers from outside are quoted in messages. */
static void make_one_line(char *msg)
{
    for (; *msg; msg++)
        if ((unsigned char)*msg < 0x20 || *msg == 0x7f)
            *msg = '?';
}

int store_err_set(struct store_err *err, enum store_code code, const char *fmt, ...)
{
    if (!err)
        return -1;
    struct store_err e = {.code = code}; /* apart, since err->msg may be an argument */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
    va_end(ap);
    make_one_line(e.msg);
    *err = e;
    return -1;
}

static enum store_code code_of_errno(int e)
{
    switch (e) {
    case ENOSPC:
    case EDQUOT: return STORE_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS: return STORE_DENIED;
    case ENOENT: return STORE_NOT_FOUND;
    case ENOMEM: return STORE_NO_MEMORY;
    case EAGAIN:
    case EMFILE:
    case ENFILE: return STORE_BUSY;
    case ETIMEDOUT: return STORE_TIMEOUT;
    default: return STORE_FAILED;
    }
}

int store_err_errno(struct store_err *err, int sys_errno, const char *fmt, ...)
{
    if (!err)
        return -1;
    struct store_err e = {.code = code_of_errno(sys_errno), .sys_errno = sys_errno};
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len < sizeof(e.msg)) {
        char text[96];
        snprintf(e.msg + len, sizeof(e.msg) - len, ": %s",
                 strerror_r(sys_errno, text, sizeof(text)));
    }
    make_one_line(e.msg);
    *err = e;
    return -1;
}

const char *store_code_name(enum store_code code)
{
    switch (code) {
    case STORE_OK: return "ok";
    case STORE_NOT_FOUND: return "not_found";
    case STORE_PRECONDITION: return "precondition";
    case STORE_NOT_MODIFIED: return "not_modified";
    case STORE_BAD_RANGE: return "bad_range";
    case STORE_INVALID: return "invalid";
    case STORE_DENIED: return "denied";
    case STORE_BUSY: return "busy";
    case STORE_TIMEOUT: return "timeout";
    case STORE_EXPIRED: return "expired";
    case STORE_NO_SPACE: return "no_space";
    case STORE_CORRUPT: return "corrupt";
    case STORE_CANCELED: return "canceled";
    case STORE_NO_MEMORY: return "no_memory";
    case STORE_FAILED: return "failed";
    }
    return "unknown";
}
