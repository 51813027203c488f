/* log.h - structured logs on standard error, one line an event, as text or JSON. Thread-safe; a
 * line is one write(), unless its thread gathers them. It never waits for whoever reads: a line
 * that a pipe or socket has no room for is lost, and the next one that gets through comes behind
 * the warning "log lines were lost" with their number n (a line that was cut in the middle is one
 * of them, and ends there). Nothing here may be given a token, a key or a body.
 *
 *     log_info("upload stored", LOG_S("key", key), LOG_U("bytes", n));
 *
 * text: 2026-01-02T03:04:05.678Z INFO upload stored key=tenants/… bytes=123
 * JSON: {"ts":"…","level":"info","program":"…","msg":"upload stored","key":"tenants/…","bytes":123}
 * Arguments are not evaluated when the level is off. Strings from outside are escaped, so that one
 * event stays one line. A line has at most LOG_MAX_LINE bytes: what does not fit is left out, and
 * the line ends with the field cut=true. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <store/error.h>

enum { LOG_MAX_LINE = 8192 }; /* with the line feed */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field {
    const char *name; /* NULL: skipped */
    enum { LOG_STRING, LOG_UNSIGNED, LOG_SIGNED, LOG_BOOL, LOG_DOUBLE } type;
    union {
        const char *s; /* NULL: the field is skipped */
        uint64_t u;
        int64_t i;
        double d;
        bool b;
    } v;
};
#define LOG_S(k, x)                                 \
    {                                               \
        .name = (k), .type = LOG_STRING, .v.s = (x) \
    }
#define LOG_U(k, x)                                   \
    {                                                 \
        .name = (k), .type = LOG_UNSIGNED, .v.u = (x) \
    }
#define LOG_I(k, x)                                 \
    {                                               \
        .name = (k), .type = LOG_SIGNED, .v.i = (x) \
    }
#define LOG_D(k, x)                                 \
    {                                               \
        .name = (k), .type = LOG_DOUBLE, .v.d = (x) \
    }
#define LOG_B(k, x)                               \
    {                                             \
        .name = (k), .type = LOG_BOOL, .v.b = (x) \
    }
/* The code and message of a struct store_err. */
#define LOG_ERR(e) LOG_S("code", store_code_name((e)->code)), LOG_S("error", (e)->msg)

/* Once, before threads run; without it the level is info and the format text. program (a constant)
 * stands in JSON lines only, and may be NULL. */
void log_setup(enum log_level level, enum log_format format, const char *program);
void log_set_level(enum log_level level);
bool log_on(enum log_level level);
/* Whether lines of this thread gather until log_flush(), a WARN or an ERROR, which comes last, or
 * until there are 4 KiB of them: then they leave in one write(). For a thread that never waits
 * without log_flush(). errno stays as it was. */
void log_gather(bool on);
void log_flush(void);
/* What the macros below call. errno stays as it was. */
void log_event(enum log_level level, const char *msg, const struct log_field *fields, size_t n);

#define LOG_AT(level, msg, ...)                                                               \
    do {                                                                                      \
        if (log_on(level)) {                                                                  \
            const struct log_field log_fields_[] = {{.name = NULL}, __VA_ARGS__};             \
            log_event(level, msg, log_fields_, sizeof(log_fields_) / sizeof(log_fields_[0])); \
        }                                                                                     \
    } while (0)
#define log_debug(msg, ...) LOG_AT(LOG_DEBUG, msg, __VA_ARGS__)
#define log_info(msg, ...)  LOG_AT(LOG_INFO, msg, __VA_ARGS__)
#define log_warn(msg, ...)  LOG_AT(LOG_WARN, msg, __VA_ARGS__)
#define log_error(msg, ...) LOG_AT(LOG_ERROR, msg, __VA_ARGS__)

#endif
