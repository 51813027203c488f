/* delete_prefix - removes everything below a prefix, tells how far it is, and can be resumed.
 *
 *     delete_prefix STORE_URL PREFIX [STATE_FILE]
 *
 * The cursor goes into STATE_FILE after each batch; a run that was killed goes on there, and the
 * file goes when all is done. Ctrl-C stops between two batches. */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <store/store.h>

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

struct job {
    const char *state_file; /* NULL: none */
    char cursor[STORE_MAX_KEY + 1];
};

/* The cursor is a key, so it may hold a line feed: the file is the cursor and nothing else. */
static void load(struct job *job)
{
    FILE *f = job->state_file ? fopen(job->state_file, "rb") : NULL;
    if (!f)
        return;
    size_t n = fread(job->cursor, 1, sizeof(job->cursor) - 1, f);
    job->cursor[n] = '\0';
    fclose(f);
}

static bool save(const struct job *job)
{
    char temp[4096];
    snprintf(temp, sizeof(temp), "%s.new", job->state_file);
    FILE *f = fopen(temp, "wb");
    if (!f)
        return false;
    size_t n = strlen(job->cursor);
    bool whole = fwrite(job->cursor, 1, n, f) == n;
    return fclose(f) == 0 && whole && rename(temp, job->state_file) == 0;
}

/* Called after each batch; false stops. */
static bool progress(void *user, const struct store_progress *p)
{
    struct job *job = user;
    printf("%" PRIu64 " objects, %" PRIu64 " bytes\n", p->objects, p->bytes);
    if (strcmp(p->cursor, job->cursor) != 0) {
        snprintf(job->cursor, sizeof(job->cursor), "%s", p->cursor);
        if (job->state_file && !save(job))
            return false;
    }
    return !interrupted;
}

int main(int argc, char **argv)
{
    struct store_err err = {0};
    struct store_progress total = {0};
    struct job job = {.state_file = argc == 4 ? argv[3] : NULL};
    store *s = NULL;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: delete_prefix STORE_URL PREFIX [STATE_FILE]\n");
        return 2;
    }
    signal(SIGINT, on_interrupt);
    load(&job);
    char from[sizeof(job.cursor)]; /* job.cursor changes on the way */
    memcpy(from, job.cursor, sizeof(from));
    const struct store_delete_prefix_opts opts = {.cursor = *from ? from : NULL};
    int rc = store_open(argv[1], NULL, &s, &err);
    if (rc == 0)
        rc = store_sync_delete_prefix(s, NULL, argv[2], &opts, progress, &job, &total, &err);
    store_close(s);
    if (rc != 0) {
        fprintf(stderr, "delete_prefix: %s\n", err.msg);
        return 1;
    }
    printf("done: %" PRIu64 " objects, %" PRIu64 " bytes\n", total.objects, total.bytes);
    if (job.state_file)
        remove(job.state_file);
    return 0;
}
