/* own_loop - libstore inside an event loop that the program has already; here one of poll().
 *
 *     own_loop STORE_URL
 *
 * Reads lines "put KEY TEXT", "get KEY" and "rm KEY" from standard input and answers each as soon
 * as it is done. Waiting for the user and for the store happens in one place: poll() watches
 * standard input and store_loop_fd(), for at most store_loop_timeout_ms(), and then
 * store_loop_run(loop, 0) does what is due. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <store/store.h>

enum { MAX_LINE = 4096, MAX_UNDER_WAY = 64 };

struct server {
    store *store;
    store_loop *loop;
    char line[MAX_LINE];
    size_t len;
    size_t under_way;
    bool at_end; /* of standard input */
};

static void done(void *user, const struct store_err *err, const struct store_info *info)
{
    struct server *s = user;
    (void)info;
    s->under_way--;
    if (err->code == STORE_OK)
        printf("done\n");
    else
        printf("%s: %s\n", store_code_name(err->code), err->msg);
    fflush(stdout);
}

static bool print_data(void *user, const void *bytes, size_t n)
{
    (void)user;
    fwrite(bytes, 1, n, stdout);
    return true;
}

/* Starts what the line asks for; the answer comes from a call-back. */
static void serve(struct server *s, char *line)
{
    static const struct store_get_cb get_cb = {.data = print_data, .done = done};
    struct store_err err = {0};
    store_op *op = NULL;
    char *save = NULL, *verb = strtok_r(line, " ", &save), *key = strtok_r(NULL, " ", &save);
    const char *text = save ? save : "";
    if (verb && key && strcmp(verb, "put") == 0)
        op = store_put_bytes(s->store, s->loop, key, text, strlen(text), NULL, done, s, &err);
    else if (verb && key && strcmp(verb, "get") == 0)
        op = store_get(s->store, s->loop, key, NULL, &get_cb, s, &err);
    else if (verb && key && strcmp(verb, "rm") == 0)
        op = store_delete(s->store, s->loop, key, 0, done, s, &err);
    else
        store_err_set(&err, STORE_INVALID, "expected put KEY TEXT, get KEY or rm KEY");
    s->under_way++;
    if (!op)
        done(s, &err, NULL);
}

static void read_lines(struct server *s)
{
    ssize_t n = read(STDIN_FILENO, s->line + s->len, sizeof(s->line) - s->len);
    s->at_end = n == 0 || (n < 0 && errno != EINTR) || s->len == sizeof(s->line);
    if (n <= 0)
        return;
    s->len += (size_t)n;
    for (char *end; (end = memchr(s->line, '\n', s->len));) {
        size_t taken = (size_t)(end + 1 - s->line);
        *end = '\0';
        serve(s, s->line);
        s->len -= taken;
        memmove(s->line, end + 1, s->len);
    }
}

static int run(struct server *s, struct store_err *err)
{
    while (!s->at_end || s->under_way > 0) {
        /* A negative descriptor is not watched: nobody is asked while enough is under way. */
        bool may_read = !s->at_end && s->under_way < MAX_UNDER_WAY;
        struct pollfd fds[] = {
            {.fd = may_read ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = store_loop_fd(s->loop), .events = POLLIN},
        };
        if (poll(fds, 2, store_loop_timeout_ms(s->loop)) < 0 && errno != EINTR)
            return store_err_errno(err, errno, "poll");
        if (store_loop_run(s->loop, 0, err) != 0)
            return -1;
        if (fds[0].revents)
            read_lines(s);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct server s = {0};
    struct store_err err = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: own_loop STORE_URL\n");
        return 2;
    }
    int rc = store_open(argv[1], NULL, &s.store, &err);
    if (rc == 0)
        rc = store_loop_new(&s.loop, &err);
    if (rc == 0)
        rc = run(&s, &err);
    store_loop_free(s.loop);
    store_close(s.store);
    if (rc != 0)
        fprintf(stderr, "own_loop: %s\n", err.msg);
    return rc == 0 ? 0 : 1;
}
