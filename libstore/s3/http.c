#include "libstore/s3/http.h"

#include <assert.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"

enum {
    CONNECT_TIMEOUT_MS = 3000,
    UNACKED_TIMEOUT_MS = 20000, /* bytes that the peer does not acknowledge: the path is dead */
    META_MAX_BYTES = 8192,
    MAX_FIELDS = 64, /* of a request's head, and their bytes */
    FIELDS_MAX_BYTES = 65536,
    MAX_IDLE_HANDLES = 256,
};

/* A socket of curl's in our epoll. It stays there between requests: adding and removing it for
 * each costs more than an event that nobody wants now and then. */
struct sock {
    struct http_client *client;
    struct loop_watch watch;
    uint32_t wanted; /* EPOLLIN, EPOLLOUT: what curl asked for last */
};

/* A curl handle, kept for the next request. */
struct http_transfer {
    CURL *easy;
    struct http_client *client;
    struct http_call *call;
    struct curl_slist fields[MAX_FIELDS]; /* the request's head, for curl: lines in field_text */
    struct buf field_text;
    char error_text[CURL_ERROR_SIZE];
    struct http_transfer *next_idle;
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;
    struct loop_task kick; /* curl wants to run at once */
    struct sock **socks;   /* by file descriptor */
    size_t n_socks;
    struct http_transfer *idle;
    unsigned n_idle;
    char *base_url, *ca_file;
};

/* ---- The answer's head ---- */

static void copy_value(char *out, size_t cap, const char *value, size_t n)
{
    n = n < cap ? n : cap - 1;
    memcpy(out, value, n);
    out[n] = '\0';
}

static void take_etag(struct http_head *a, const char *value, size_t n)
{
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value++;
        n -= 2;
    }
    copy_value(a->etag, sizeof(a->etag), value, n);
}

/* Content-Range: bytes 0-99/1234, or bytes asterisk/1234 */
static void take_content_range(struct http_head *a, const char *value, size_t n)
{
    const char *end = value + n, *dash = memchr(value, '-', n), *slash = memchr(value, '/', n);
    if (dash && slash && n > 6 && strncasecmp(value, "bytes ", 6) == 0 && dash >= value + 6)
        a->has_range = parse_u64(value + 6, (size_t)(dash - value - 6), &a->range_first) &&
                       parse_u64(slash + 1, (size_t)(end - slash - 1), &a->range_total);
}

static void take_meta(struct http_head *a, const char *name, size_t name_len, const char *value,
                      size_t n)
{
    if (a->n_meta == STORE_MAX_META || !buf_reserve(&a->meta, name_len + n + 2))
        return;
    for (size_t i = 0; i < name_len; i++)
        buf_addc(&a->meta, name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i]);
    buf_addc(&a->meta, '\0');
    buf_add(&a->meta, value, n);
    buf_addc(&a->meta, '\0');
    a->n_meta++;
}

static bool is_header(const char *line, size_t name_len, const char *name)
{
    return strlen(name) == name_len && strncasecmp(line, name, name_len) == 0;
}

static void take_field(struct http_head *a, const char *name, size_t name_len, const char *value,
                       size_t n)
{
    char text[64];
    uint64_t number;
    copy_value(text, sizeof(text), value, n);
    if (is_header(name, name_len, "etag"))
        take_etag(a, value, n);
    else if (is_header(name, name_len, "date"))
        clock_parse_http_date(text, &a->date_s);
    else if (is_header(name, name_len, "last-modified"))
        clock_parse_http_date(text, &a->last_modified_s);
    else if (is_header(name, name_len, "content-type"))
        copy_value(a->content_type, sizeof(a->content_type), value, n);
    else if (is_header(name, name_len, "content-range"))
        take_content_range(a, value, n);
    else if (is_header(name, name_len, "x-amz-bucket-region"))
        copy_value(a->region, sizeof(a->region), value, n);
    else if (is_header(name, name_len, "content-length") && parse_u64(value, n, &number) &&
             number <= INT64_MAX)
        a->content_length = (int64_t)number;
    else if (is_header(name, name_len, "retry-after") && parse_u64(value, n, &number))
        a->retry_after_ms = number > 60 ? 60000 : (uint32_t)number * 1000;
    else if (name_len > 11 && strncasecmp(name, "x-amz-meta-", 11) == 0)
        take_meta(a, name + 11, name_len - 11, value, n);
}

static void answer_reset(struct http_head *a)
{
    struct buf meta = a->meta;
    *a = (struct http_head){.content_length = -1, .meta = meta};
    a->meta.max = META_MAX_BYTES;
    buf_reset(&a->meta);
}

static size_t on_header(char *line, size_t size, size_t n, void *user)
{
    struct http_transfer *t = user;
    struct http_head *a = &t->call->answer;
    size_t len = size * n, all = len;
    while (len && (line[len - 1] == '\r' || line[len - 1] == '\n'))
        len--;
    if (len >= 12 && strncmp(line, "HTTP/", 5) == 0) {
        answer_reset(a); /* an interim answer (100) may have come before */
        const char *space = memchr(line, ' ', len);
        uint64_t status = 0;
        if (space && line + len - space > 3 && parse_u64(space + 1, 3, &status))
            a->status = (int)status;
        return all;
    }
    const char *colon = memchr(line, ':', len);
    if (!colon)
        return all;
    const char *value = colon + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    take_field(a, line, (size_t)(colon - line), value, (size_t)(end - value));
    return all;
}

/* ---- Bodies ---- */

static void tell_head(struct http_call *c)
{
    if (c->head_told)
        return;
    c->head_told = true;
    if (c->head)
        c->head(c);
}

static size_t on_data(char *bytes, size_t size, size_t n, void *user)
{
    struct http_transfer *t = user;
    struct http_call *c = t->call;
    if (c->paused)
        return CURL_WRITEFUNC_PAUSE;
    tell_head(c);
    if (c->data && !c->data(c, bytes, size * n))
        c->paused = true; /* this piece was taken; the next one waits inside curl */
    return size * n;
}

static size_t on_read(char *buf, size_t size, size_t n, void *user)
{
    struct http_transfer *t = user;
    struct http_call *c = t->call;
    ssize_t got = c->read ? c->read(c, buf, size * n) : 0;
    if (got == STORE_READ_PAUSE) {
        c->paused = true;
        return CURL_READFUNC_PAUSE;
    }
    return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

static int on_seek(void *user, curl_off_t offset, int origin)
{
    struct http_transfer *t = user;
    struct http_call *c = t->call;
    if (offset != 0 || origin != SEEK_SET || !c->rewind || !c->rewind(c))
        return CURL_SEEKFUNC_CANTSEEK;
    return CURL_SEEKFUNC_OK;
}

/* ---- Sockets and timer ---- */

static void reap(struct http_client *h);

static void sock_clear(struct http_client *h, curl_socket_t fd)
{
    if ((size_t)fd >= h->n_socks || !h->socks[fd])
        return;
    loop_watch_clear(h->loop, &h->socks[fd]->watch);
    free(h->socks[fd]);
    h->socks[fd] = NULL;
}

static void on_event(void *user, uint32_t events)
{
    struct sock *s = user;
    struct http_client *h = s->client;
    int fd = s->watch.fd, running;
    int mask = ((events & EPOLLIN) ? CURL_CSELECT_IN : 0) |
               ((events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
               ((events & (EPOLLERR | EPOLLHUP)) ? CURL_CSELECT_ERR : 0);
    if (!(events & (s->wanted | EPOLLERR | EPOLLHUP))) {
        /* Nobody waits for this: watch for what is wanted, if anything. */
        if (s->wanted)
            loop_watch_set(h->loop, &s->watch, fd, s->wanted, NULL);
        else
            sock_clear(h, fd);
        return;
    }
    if (!s->wanted) {
        /* The server closed an idle connection: curl looks before it uses one again. */
        sock_clear(h, fd);
        return;
    }
    curl_multi_socket_action(h->multi, fd, mask, &running);
    reap(h);
}

static struct sock *sock_make(struct http_client *h, curl_socket_t fd)
{
    if ((size_t)fd >= h->n_socks) {
        size_t n = (size_t)fd + 64;
        struct sock **socks = realloc(h->socks, n * sizeof(struct sock *));
        if (!socks)
            return NULL;
        memset(socks + h->n_socks, 0, (n - h->n_socks) * sizeof(struct sock *));
        h->socks = socks;
        h->n_socks = n;
    }
    if (!h->socks[fd]) {
        struct sock *s = calloc(1, sizeof(*s));
        if (!s)
            return NULL;
        s->client = h;
        s->watch = (struct loop_watch){.fn = on_event, .user = s, .fd = -1};
        h->socks[fd] = s;
    }
    return h->socks[fd];
}

/* Whether the transfer's connection is up: only then does curl tell on_close() when it closes the
 * socket. It closes those of its resolver, and of connections that never came to be, unseen, and
 * the next file may have their number. */
static bool answered(CURL *easy)
{
    struct http_transfer *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    return t && t->call && t->call->answer.status != 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *unused)
{
    struct http_client *h = user;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if ((size_t)fd < h->n_socks && h->socks[fd] && answered(easy))
            h->socks[fd]->wanted = 0;
        else
            sock_clear(h, fd);
        return 0;
    }
    struct sock *s = sock_make(h, fd);
    if (!s)
        return -1;
    s->wanted = ((what & CURL_POLL_IN) ? EPOLLIN : 0) | ((what & CURL_POLL_OUT) ? EPOLLOUT : 0);
    if (s->watch.fd >= 0 && (s->watch.events & s->wanted) == s->wanted)
        return 0;
    return loop_watch_set(h->loop, &s->watch, fd, s->wanted, NULL);
}

static int on_close(void *user, curl_socket_t fd)
{
    sock_clear(user, fd);
    return close(fd);
}

/* A new socket. A watch of this number is a leftover of one that was closed unseen a moment ago,
 * when an address did not answer; curl takes the new one for the same and need not ask again. */
static int on_sockopt(void *user, curl_socket_t fd, curlsocktype purpose)
{
    struct http_client *h = user;
    (void)purpose;
    if ((size_t)fd < h->n_socks && h->socks[fd]) {
        struct sock *s = h->socks[fd];
        loop_watch_clear(h->loop, &s->watch);
        if (loop_watch_set(h->loop, &s->watch, fd, s->wanted | EPOLLOUT, NULL) != 0)
            return CURL_SOCKOPT_ERROR;
    }
    unsigned ms = UNACKED_TIMEOUT_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    return CURL_SOCKOPT_OK;
}

static void run_curl(void *user)
{
    struct http_client *h = user;
    int running;
    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    reap(h);
}

static int on_timer(CURLM *multi, long timeout_ms, void *user)
{
    struct http_client *h = user;
    (void)multi;
    if (timeout_ms == 0) {
        loop_timer_clear(h->loop, &h->timer);
        loop_defer(h->loop, &h->kick);
    } else if (timeout_ms < 0) {
        loop_timer_clear(h->loop, &h->timer);
    } else {
        return loop_timer_set(h->loop, &h->timer, (uint64_t)timeout_ms);
    }
    return 0;
}

/* ---- Handles ---- */

static const char *system_ca_file(void)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (access(files[i], R_OK) == 0)
            return files[i];
    return NULL;
}

/* What stays the same for every request. */
static bool set_constants(struct http_client *h, struct http_transfer *t)
{
    CURL *e = t->easy;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 65536L);
    /* A CA folder, which Debian sets by default, switches off curl's cache of the parsed CA file,
     * and then each TLS connection costs tens of milliseconds. */
    curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    if (h->ca_file)
        curl_easy_setopt(e, CURLOPT_CAINFO, h->ca_file);
    /* Each request has a CURLOPT_REQUEST_TARGET instead of a URL: curl takes a URL apart and puts
     * it together again several times, byte by byte. */
    CURLcode rc = curl_easy_setopt(e, CURLOPT_URL, h->base_url);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error_text);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(e, CURLOPT_READDATA, t);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
    curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_sockopt);
    curl_easy_setopt(e, CURLOPT_SOCKOPTDATA, h);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, h);
    return rc == CURLE_OK;
}

static void transfer_free(struct http_transfer *t)
{
    curl_easy_cleanup(t->easy);
    buf_cleanup(&t->field_text);
    free(t);
}

static struct http_transfer *transfer_take(struct http_client *h)
{
    struct http_transfer *t = h->idle;
    if (t) {
        h->idle = t->next_idle;
        h->n_idle--;
        return t;
    }
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->client = h;
    buf_init(&t->field_text, FIELDS_MAX_BYTES);
    t->easy = curl_easy_init();
    if (!t->easy || !set_constants(h, t)) {
        transfer_free(t);
        return NULL;
    }
    return t;
}

static void transfer_give_back(struct http_transfer *t)
{
    struct http_client *h = t->client;
    t->call = NULL;
    if (h->n_idle >= MAX_IDLE_HANDLES) {
        transfer_free(t);
        return;
    }
    t->next_idle = h->idle;
    h->idle = t;
    h->n_idle++;
}

/* ---- Clients ---- */

static void client_free(void *value)
{
    struct http_client *h = value;
    while (h->idle) {
        struct http_transfer *t = h->idle;
        h->idle = t->next_idle;
        transfer_free(t);
    }
    if (h->multi)
        curl_multi_cleanup(h->multi); /* closes the connections, and so calls on_close() */
    loop_timer_clear(h->loop, &h->timer);
    loop_defer_clear(h->loop, &h->kick);
    for (size_t fd = 0; fd < h->n_socks; fd++)
        sock_clear(h, (curl_socket_t)fd);
    free(h->socks);
    free(h->base_url);
    free(h->ca_file);
    free(h);
}

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static struct http_client *client_new(struct loop *l, const struct http_client_conf *conf)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct http_client *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    const char *ca = conf->ca_file ? conf->ca_file : system_ca_file();
    h->loop = l;
    h->timer = (struct loop_timer){.fn = run_curl, .user = h};
    h->kick = (struct loop_task){.fn = run_curl, .user = h};
    h->base_url = strdup(conf->base_url);
    h->ca_file = ca ? strdup(ca) : NULL;
    h->multi = curl_multi_init();
    if (!h->multi || !h->base_url || (ca && !h->ca_file)) {
        client_free(h);
        return NULL;
    }
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)conf->max_connections);
    return h;
}

struct http_client *http_client_get(struct loop *l, const void *owner,
                                    const struct http_client_conf *conf, struct store_err *err)
{
    struct http_client *h = loop_attached(l, owner);
    if (h)
        return h;
    h = client_new(l, conf);
    if (h && loop_attach(l, owner, h, client_free) != 0) {
        client_free(h);
        h = NULL;
    }
    if (!h)
        store_err_set(err, STORE_NO_MEMORY, "http: out of memory");
    return h;
}

/* ---- Calls ---- */

static void set_method(struct http_transfer *t, const struct http_call *c)
{
    CURL *e = t->easy;
    curl_easy_setopt(e, CURLOPT_HTTPGET, 1L); /* forgets the body and method of the last use */
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, NULL);
    if (strcmp(c->method, "HEAD") == 0) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (strcmp(c->method, "PUT") == 0) {
        curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)c->body_size);
    } else if (strcmp(c->method, "POST") == 0) {
        curl_easy_setopt(e, CURLOPT_POST, 1L);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, NULL);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body_size);
    } else if (strcmp(c->method, "GET") != 0) {
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method);
    }
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)(c->stall_timeout_ms + 999) / 1000);
}

/* The list that curl reads, without an allocation for each node and line. */
static bool set_headers(struct http_transfer *t, const char *lines)
{
    struct buf *text = &t->field_text;
    size_t n = 0;
    buf_reset(text);
    /* First what curl would add by itself, unsigned: an Expect that many stores answer late, and
     * an Accept. */
    buf_adds(text, "Expect:\nAccept:\n");
    buf_adds(text, lines);
    if (buf_failed(text))
        return false;
    for (char *line = text->data, *end; (end = strchr(line, '\n')); line = end + 1) {
        if (n == MAX_FIELDS)
            return false;
        *end = '\0';
        t->fields[n] = (struct curl_slist){.data = line};
        if (n > 0)
            t->fields[n - 1].next = &t->fields[n];
        n++;
    }
    return curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->fields) == CURLE_OK;
}

int http_call_start(struct http_client *h, struct http_call *c, struct store_err *err)
{
    assert(!c->transfer);
    struct http_transfer *t = transfer_take(h);
    if (!t)
        return store_err_set(err, STORE_NO_MEMORY, "http: out of memory");
    t->call = c;
    t->error_text[0] = '\0';
    c->head_told = c->paused = false;
    answer_reset(&c->answer);
    set_method(t, c);
    if (!set_headers(t, c->headers ? c->headers : "") ||
        curl_easy_setopt(t->easy, CURLOPT_REQUEST_TARGET, c->target) != CURLE_OK ||
        curl_multi_add_handle(h->multi, t->easy) != CURLM_OK) {
        transfer_give_back(t);
        return store_err_set(err, STORE_NO_MEMORY, "http: out of memory");
    }
    c->transfer = t;
    return 0;
}

void http_call_resume(struct http_call *c)
{
    if (!c->paused || !c->transfer)
        return;
    c->paused = false;
    curl_easy_pause(c->transfer->easy, CURLPAUSE_CONT);
    /* The pause may have hidden the end: let curl look. */
    loop_defer(c->transfer->client->loop, &c->transfer->client->kick);
}

void http_call_cancel(struct http_call *c)
{
    struct http_transfer *t = c->transfer;
    if (!t)
        return;
    c->transfer = NULL;
    curl_multi_remove_handle(t->client->multi, t->easy);
    transfer_give_back(t);
}

void http_call_cleanup(struct http_call *c)
{
    buf_cleanup(&c->answer.meta);
}

static enum http_failure failure_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK: return HTTP_ANSWERED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION: return HTTP_NOT_SENT;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_ABORTED_BY_CALLBACK:
    case CURLE_READ_ERROR:
    case CURLE_URL_MALFORMAT:
    case CURLE_SSL_CACERT_BADFILE: return HTTP_BAD_LOCAL;
    default: return HTTP_BROKEN;
    }
}

/* Ends the calls that are over. Outside of curl's call-backs, so that `done` may start anew. */
static void reap(struct http_client *h)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(h->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct http_transfer *t;
        CURLcode code = m->data.result;
        char detail[CURL_ERROR_SIZE];
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        struct http_call *c = t->call;
        const char *text = t->error_text[0] ? t->error_text : curl_easy_strerror(code);
        copy_value(detail, sizeof(detail), text, strlen(text));
        curl_multi_remove_handle(h->multi, t->easy);
        c->transfer = NULL;
        transfer_give_back(t);
        if (code == CURLE_OK)
            tell_head(c);
        c->done(c, failure_of(code), detail);
    }
}
