#include "storectl/progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "storectl/storectl.h"
#include "storectl/value.h"

enum { REDRAW_MS = 100, DEFAULT_COLUMNS = 80 };

static int columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : DEFAULT_COLUMNS;
}

static void wipe(void *user)
{
    struct progress *p = user;
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}

uint64_t progress_elapsed_ms(const struct progress *p)
{
    return clock_mono_ms() - p->began_ms;
}

/* How much of it is done and when it will be; only where the whole is known. */
static void add_share(struct buf *line, const struct progress *p, uint64_t elapsed_ms)
{
    char text[VALUE_TEXT];
    if (p->total_bytes == 0 || p->bytes == 0)
        return;
    double share = (double)p->bytes / (double)p->total_bytes;
    share = share > 1 ? 1 : share;
    double left_s = (double)elapsed_ms / 1000 * (1 - share) / share;
    buf_addf(line, "  %3.0f %%  %s left", share * 100,
             value_show_seconds((uint64_t)(left_s + 0.5), text));
}

static void draw(struct progress *p)
{
    struct buf line = BUF_INIT(1024);
    char a[VALUE_TEXT], b[VALUE_TEXT];
    uint64_t ms = progress_elapsed_ms(p);
    uint64_t rate = ms ? p->count * 1000 / ms : 0, byte_rate = ms ? p->bytes * 1000 / ms : 0;
    if (p->noun)
        buf_addf(&line, "%s %s  %s/s  ", value_show_count(p->count, a), p->noun,
                 value_show_count(rate, b));
    buf_adds(&line, value_show_bytes(p->bytes, a));
    buf_addf(&line, "  %s/s  %s", value_show_bytes(byte_rate, a), value_show_seconds(ms / 1000, b));
    add_share(&line, p, ms);
    fprintf(stderr, "\r%.*s\033[K", columns() - 1, buf_str(&line));
    p->shown = true;
    buf_cleanup(&line);
}

static void tick(void *user)
{
    struct progress *p = user;
    draw(p);
    if (loop_timer_set(p->c->loop, &p->timer, REDRAW_MS) != 0)
        wipe(p);
}

void progress_begin(struct progress *p, struct ctl *c, const char *noun)
{
    *p = (struct progress){.noun = noun, .c = c, .began_ms = clock_mono_ms()};
    p->timer = (struct loop_timer){.fn = tick, .user = p};
    if (c->args.json || !isatty(STDERR_FILENO))
        return;
    c->before_message = wipe;
    c->before_message_user = p;
    if (loop_timer_set(c->loop, &p->timer, REDRAW_MS) != 0)
        c->before_message = NULL; /* without a bar, then */
}

void progress_end(struct progress *p)
{
    loop_timer_clear(p->c->loop, &p->timer);
    wipe(p);
    p->c->before_message = NULL;
}
