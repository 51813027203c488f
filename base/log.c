#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

static atomic_int min_level = LOG_INFO;
static enum log_format line_format = LOG_TEXT;
static const char *program_name;

static const char *const json_levels[] = {"debug", "info", "warn", "error"};
static const char *const text_levels[] = {"DEBUG", "INFO", "WARN", "ERROR"};

void log_setup(enum log_level level, enum log_format format, const char *program)
{
    log_set_level(level);
    line_format = format;
    program_name = program;
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&min_level, (int)level, memory_order_relaxed);
}

bool log_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&min_level, memory_order_relaxed);
}

/* ---- A line of limited length ---- */

/* Kept free while fields are written: closing quote, cut mark, bracket and line feed fit in. */
enum { TAIL_BYTES = 32 };

struct line {
    size_t len;
    bool cut; /* something did not fit; nothing more is added but the end */
    char text[LOG_MAX_LINE];
};

/* Adds all n bytes or none, so that an escape is never torn. */
static void add(struct line *l, const char *s, size_t n)
{
    if (l->cut || n > LOG_MAX_LINE - TAIL_BYTES - l->len) {
        l->cut = true;
        return;
    }
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

static void add_str(struct line *l, const char *s)
{
    add(l, s, strlen(s));
}

static STORE_PRINTF_LIKE(2, 3) void add_fmt(struct line *l, const char *fmt, ...)
{
    char text[64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    add_str(l, text);
}

/* The end of a line has its room reserved. */
static void add_end(struct line *l, const char *s)
{
    size_t n = strlen(s);
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

/* ---- Escaping ---- */

static void add_escape(struct line *l, uint32_t c)
{
    if (c == '\n')
        add_str(l, "\\n");
    else if (c == '\t')
        add_str(l, "\\t");
    else if (c == '\r')
        add_str(l, "\\r");
    else
        add_fmt(l, "\\u%04x", c);
}

/* Escapes as JSON does; a text line's quoted values look the same. A byte that is not UTF-8 becomes
 * U+FFFD in JSON, which has no way to say it, and \xNN in text. */
static void add_escaped(struct line *l, const char *s)
{
    const char *end = s + strlen(s);
    while (s < end && !l->cut) {
        uint32_t code = 0;
        size_t n = utf8_decode(s, (size_t)(end - s), &code);
        if (n == 0 && line_format == LOG_JSON)
            add_str(l, "\\ufffd");
        else if (n == 0)
            add_fmt(l, "\\x%02x", (unsigned char)*s);
        else if (utf8_is_control(code))
            add_escape(l, code);
        else if (code == '"' || code == '\\')
            add_fmt(l, "\\%c", (char)code);
        else
            add(l, s, n);
        s += n ? n : 1;
    }
}

/* The quotes stand in pairs even when the text between was cut. */
static void add_quoted(struct line *l, const char *s)
{
    size_t before = l->len;
    add(l, "\"", 1);
    if (l->len == before)
        return;
    add_escaped(l, s);
    add_end(l, "\"");
}

/* ---- Fields ---- */

static bool needs_quotes(const char *s)
{
    if (!*s)
        return true;
    for (const char *p = s; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == '"' || *p == '=' || *p == '\\')
            return true;
    return false;
}

static void add_value(struct line *l, const struct log_field *f)
{
    switch (f->type) {
    case LOG_STRING:
        if (line_format == LOG_JSON || needs_quotes(f->v.s))
            add_quoted(l, f->v.s);
        else
            add_escaped(l, f->v.s);
        break;
    case LOG_UNSIGNED: add_fmt(l, "%llu", (unsigned long long)f->v.u); break;
    case LOG_SIGNED: add_fmt(l, "%lld", (long long)f->v.i); break;
    case LOG_BOOL: add_str(l, f->v.b ? "true" : "false"); break;
    case LOG_DOUBLE:
        if (isfinite(f->v.d))
            add_fmt(l, "%.9g", f->v.d);
        else /* JSON knows neither NaN nor infinity */
            add_str(l, "null");
        break;
    }
}

/* A field is whole, or its string is cut, or it is not there at all. */
static void add_field(struct line *l, const struct log_field *f)
{
    size_t before = l->len;
    if (line_format == LOG_JSON)
        add(l, ",\"", 2);
    else
        add(l, " ", 1);
    add_str(l, f->name);
    add_str(l, line_format == LOG_JSON ? "\":" : "=");
    size_t value = l->len;
    add_value(l, f);
    if (l->cut && (f->type != LOG_STRING || l->len == value))
        l->len = before;
}

static void begin_text(struct line *l, enum log_level level, const char *ts, const char *msg)
{
    add_fmt(l, "%s %s ", ts, text_levels[level]);
    add_escaped(l, msg);
}

static void begin_json(struct line *l, enum log_level level, const char *ts, const char *msg)
{
    add_fmt(l, "{\"ts\":\"%s\",\"level\":\"%s\"", ts, json_levels[level]);
    if (program_name) {
        add_str(l, ",\"program\":");
        add_quoted(l, program_name);
    }
    add_str(l, ",\"msg\":");
    add_quoted(l, msg);
}

static void end_line(struct line *l)
{
    if (line_format == LOG_JSON)
        add_end(l, l->cut ? ",\"cut\":true}\n" : "}\n");
    else
        add_end(l, l->cut ? " cut=true\n" : "\n");
}

/* ---- Standard error ---- */

static struct {
    pthread_mutex_t lock; /* guards what follows; nobody waits while it is held */
    uint64_t lost;        /* lines, not told yet */
    bool torn;            /* the latest one ended midway */
    int own_fd;           /* see own_description(); -1: none */
    dev_t dev;            /* of what it leads to */
    ino_t ino;
} out = {.lock = PTHREAD_MUTEX_INITIALIZER, .own_fd = -1};

/* Another open file description of the pipe or terminal that is standard error, so that O_NONBLOCK
 * is ours alone: the one behind standard error may be shared with other programs. -1: none can be
 * had (no /proc, another user's terminal). */
static int own_description(const struct stat *st)
{
    if (out.own_fd >= 0 && st->st_dev == out.dev && st->st_ino == out.ino)
        return out.own_fd;
    if (out.own_fd >= 0)
        close(out.own_fd);
    out.own_fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    out.dev = st->st_dev;
    out.ino = st->st_ino;
    return out.own_fd;
}

/* As write() with O_NONBLOCK. */
static ssize_t write_now(const struct stat *st, const char *p, size_t n)
{
    if (S_ISSOCK(st->st_mode))
        return send(STDERR_FILENO, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (S_ISREG(st->st_mode)) /* does not block, and its offset is shared */
        return write(STDERR_FILENO, p, n);
    int fd = own_description(st);
    if (fd >= 0)
        return write(fd, p, n);
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    errno = EAGAIN;
    return poll(&room, 1, 0) == 1 ? write(STDERR_FILENO, p, n) : -1;
}

/* One write() as a rule, so that lines of several threads and processes stay whole. Returns how
 * much was written. */
static size_t write_out(const char *p, size_t n)
{
    struct stat st;
    const char *begin = p;
    if (fstat(STDERR_FILENO, &st) != 0)
        return 0;
    while (n) {
        ssize_t done = write_now(&st, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            break;
        p += done;
        n -= (size_t)done;
    }
    if (p != begin)
        out.torn = n > 0 && p[-1] != '\n';
    return (size_t)(p - begin);
}

/* ---- Events ---- */

/* What this thread has gathered: whole lines. No more than a pipe takes in one piece. */
static _Thread_local struct {
    bool on;
    size_t len;
    char text[PIPE_BUF];
} gathered;

static void begin_line(struct line *l, enum log_level level, const char *msg)
{
    char ts[CLOCK_TEXT];
    clock_rfc3339_ms(clock_real_ms(), ts);
    if (line_format == LOG_JSON)
        begin_json(l, level, ts, msg);
    else
        begin_text(l, level, ts, msg);
}

/* Returns whether there is nothing left to tell. */
static bool tell_lost(void)
{
    struct line l = {.len = 0};
    const struct log_field n = LOG_U("n", out.lost);
    if (out.lost == 0)
        return true;
    if (out.torn)
        add_str(&l, "\n");
    begin_line(&l, LOG_WARN, "log lines were lost");
    add_field(&l, &n);
    end_line(&l);
    if (write_out(l.text, l.len) < l.len)
        return false;
    out.lost = 0;
    return true;
}

static size_t count_lines(const char *text, size_t n)
{
    size_t lines = 0;
    for (const char *p = text; (p = memchr(p, '\n', n - (size_t)(p - text))); p++)
        lines++;
    return lines;
}

static void put_out(const char *text, size_t n)
{
    size_t written = 0;
    pthread_mutex_lock(&out.lock);
    if (tell_lost())
        written = write_out(text, n);
    out.lost += count_lines(text + written, n - written);
    pthread_mutex_unlock(&out.lock);
}

static void put_gathered(void)
{
    if (gathered.len)
        put_out(gathered.text, gathered.len);
    gathered.len = 0;
}

static void gather(const struct line *l)
{
    if (l->len > sizeof(gathered.text) - gathered.len)
        put_gathered();
    if (l->len > sizeof(gathered.text)) {
        put_out(l->text, l->len);
        return;
    }
    memcpy(gathered.text + gathered.len, l->text, l->len);
    gathered.len += l->len;
}

void log_event(enum log_level level, const char *msg, const struct log_field *fields, size_t n)
{
    int saved_errno = errno;
    struct line l;
    l.len = 0;
    l.cut = false;
    begin_line(&l, level, msg);
    for (size_t i = 0; i < n && !l.cut; i++)
        if (fields[i].name && (fields[i].type != LOG_STRING || fields[i].v.s))
            add_field(&l, &fields[i]);
    end_line(&l);
    if (gathered.on)
        gather(&l);
    else
        put_out(l.text, l.len);
    if (level >= LOG_WARN)
        put_gathered();
    errno = saved_errno;
}

void log_gather(bool on)
{
    log_flush();
    gathered.on = on;
}

void log_flush(void)
{
    int saved_errno = errno;
    put_gathered();
    errno = saved_errno;
}
