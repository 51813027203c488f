#include "libstore/s3/http.h"

#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "libstore/s3/http_head.h"
#include "libstore/s3/sockets.h"

enum {
    DEFAULT_CONNECT_TIMEOUT_MS = 3000,
    MAX_FIELDS = 64, /* of a request's head, and their bytes */
    FIELDS_MAX_BYTES = 65536,
    MAX_IDLE_HANDLES = 256,
};

static const char LATE[] = "the deadline passed before the answer came";

/* A curl handle, kept for the next request. */
struct http_transfer {
    CURL *easy;
    struct http_client *client;
    struct http_call *call;               /* NULL: idle, or given up and not yet taken from curl */
    struct curl_slist fields[MAX_FIELDS]; /* the request's head, for curl: lines in field_text */
    struct buf field_text;
    CURLU *url;           /* taken apart once, not for each request */
    const char *base_url; /* what url is */
    char error_text[CURL_ERROR_SIZE];
    bool no_memory, late;              /* what ended it, or is to end it */
    struct http_transfer *next, *prev; /* active, or idle (next only) */
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;
    struct loop_task kick; /* curl wants to run at once */
    struct sockets sockets;
    struct http_transfer *idle;
    unsigned n_idle;
    struct http_transfer *active; /* those that curl has */
    /* Calls that are canceled in one of curl's own call-backs, where it lets go of no handle, leave
     * theirs behind. */
    bool in_curl;
    struct loop_task bury;
    bool starved;             /* some of the active have no_memory */
    bool timer_lost;          /* no memory for the time that curl wants to run at */
    struct http_call waiting; /* head of the ring of those that wait for a connection */
    struct loop_task admit;   /* lets them in */
    uint32_t n_active, max_active;
    uint64_t earliest_ms; /* no active call has an earlier deadline */
    uint32_t connect_timeout_ms;
    char *base_url, *ca_file, *client_cert_file, *client_key_file;
};

/* ---- The answer ---- */

static size_t on_header(char *line, size_t size, size_t n, void *user)
{
    struct http_transfer *t = user;
    size_t len = size * n;
    if (!t->call)
        return 0; /* ends the transfer */
    if (http_head_take(&t->call->answer, line, len))
        return len;
    t->no_memory = true;
    return 0;
}

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
    if (!c)
        return 0;
    if (c->paused)
        return CURL_WRITEFUNC_PAUSE;
    tell_head(c);
    if (c->data && !c->data(c, bytes, size * n))
        c->paused = true; /* this piece was taken; the next one waits inside curl */
    return size * n;
}

static bool is_late(const struct http_call *c)
{
    return c->deadline_ms && clock_mono_ms() >= c->deadline_ms;
}

static size_t on_read(char *buf, size_t size, size_t n, void *user)
{
    struct http_transfer *t = user;
    struct http_call *c = t->call;
    if (!c)
        return CURL_READFUNC_ABORT;
    ssize_t got = c->read ? c->read(c, buf, size * n) : 0;
    if (is_late(c)) { /* now: the caller may have taken its time */
        t->late = true;
        return CURL_READFUNC_ABORT;
    }
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
    if (!c || offset != 0 || origin != SEEK_SET || !c->rewind || !c->rewind(c))
        return CURL_SEEKFUNC_CANTSEEK;
    return CURL_SEEKFUNC_OK;
}

/* ---- Sockets and timer ---- */

static void reap(struct http_client *h);
static void end_late(struct http_client *h);
static void end_starved(struct http_client *h);

/* The call ends when curl has returned. */
static void starve(struct http_transfer *t)
{
    t->no_memory = true;
    t->client->starved = true;
    loop_defer(t->client->loop, &t->client->kick);
}

/* Lets curl work, and ends the calls that are over then. Those whose deadline has passed are ended
 * before: curl holds up to a buffer of a body that it sends without asking for it. */
static void act(struct http_client *h, curl_socket_t fd, int mask)
{
    int running;
    end_late(h);
    h->in_curl = true;
    CURLMcode rc = curl_multi_socket_action(h->multi, fd, mask, &running);
    h->in_curl = false;
    /* It does not say whose socket it has lost then, and may never ask for it again. */
    for (struct http_transfer *t = rc == CURLM_OK ? NULL : h->active; t; t = t->next)
        starve(t);
    end_starved(h);
    reap(h);
}

static void on_ready(void *user, int fd, uint32_t events)
{
    int mask = ((events & EPOLLIN) ? CURL_CSELECT_IN : 0) |
               ((events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
               ((events & (EPOLLERR | EPOLLHUP)) ? CURL_CSELECT_ERR : 0);
    act(user, fd, mask);
}

static struct http_transfer *transfer_of(CURL *easy)
{
    struct http_transfer *t = NULL; /* curl has handles of its own too */
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    return t;
}

/* Whether the last word on the request has come: then its connection, which is up, may rest. curl
 * tells on_close() of those only. It closes the sockets of its resolver, and of connections that
 * never came to be, unseen, and the next file may have their number. */
static bool answered(CURL *easy)
{
    const struct http_transfer *t = transfer_of(easy);
    return t && t->call && t->call->answer.status >= 200;
}

/* Never tells curl of a failure: it would give up every call of the client. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *unused)
{
    struct http_client *h = user;
    struct http_transfer *t;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if (answered(easy))
            sockets_rest(&h->sockets, fd);
        else
            sockets_forget(&h->sockets, fd);
        return 0;
    }
    uint32_t wanted =
        ((what & CURL_POLL_IN) ? EPOLLIN : 0) | ((what & CURL_POLL_OUT) ? EPOLLOUT : 0);
    if (!sockets_watch(&h->sockets, fd, wanted) && (t = transfer_of(easy)))
        starve(t);
    return 0;
}

static int on_close(void *user, curl_socket_t fd)
{
    struct http_client *h = user;
    return sockets_close(&h->sockets, fd);
}

static int on_sockopt(void *user, curl_socket_t fd, curlsocktype purpose)
{
    struct http_client *h = user;
    (void)purpose;
    return sockets_open(&h->sockets, fd) ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ERROR;
}

/* As on_socket(). Without memory for the timer curl runs in each round, until there is some. */
static int on_timer(CURLM *multi, long timeout_ms, void *user)
{
    struct http_client *h = user;
    (void)multi;
    h->timer_lost = false;
    if (timeout_ms == 0) {
        loop_timer_clear(h->loop, &h->timer);
        loop_defer(h->loop, &h->kick);
    } else if (timeout_ms < 0) {
        loop_timer_clear(h->loop, &h->timer);
    } else if (loop_timer_set(h->loop, &h->timer, (uint64_t)timeout_ms) != 0) {
        h->timer_lost = true;
        loop_defer(h->loop, &h->kick);
    }
    return 0;
}

static void run_curl(void *user)
{
    struct http_client *h = user;
    long timeout_ms;
    act(h, CURL_SOCKET_TIMEOUT, 0);
    if (h->timer_lost && curl_multi_timeout(h->multi, &timeout_ms) == CURLM_OK)
        on_timer(h->multi, timeout_ms, h);
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

/* Texts are copied by curl, which may lack the memory; then a default would be taken. */
static bool set_text(CURL *e, CURLoption option, const char *text)
{
    return curl_easy_setopt(e, option, text) == CURLE_OK;
}

static bool set_tls(const struct http_client *h, CURL *e)
{
    const char *key = h->client_key_file ? h->client_key_file : h->client_cert_file;
    /* A CA folder, which Debian sets by default, switches off curl's cache of the parsed CA file,
     * and then each TLS connection costs tens of milliseconds. */
    curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    return (!h->ca_file || set_text(e, CURLOPT_CAINFO, h->ca_file)) &&
           (!h->client_cert_file || (set_text(e, CURLOPT_SSLCERT, h->client_cert_file) &&
                                     set_text(e, CURLOPT_SSLKEY, key)));
}

/* What stays the same for every request. */
static bool set_constants(struct http_client *h, struct http_transfer *t)
{
    CURL *e = t->easy;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)h->connect_timeout_ms);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 65536L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* a resolver's thread that hangs is not joined */
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
    return set_text(e, CURLOPT_PROXY, "") && set_text(e, CURLOPT_PROTOCOLS_STR, "http,https") &&
           set_tls(h, e);
}

static void transfer_free(struct http_transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_url_cleanup(t->url);
    buf_cleanup(&t->field_text);
    free(t);
}

static struct http_transfer *transfer_take(struct http_client *h)
{
    struct http_transfer *t = h->idle;
    if (t) {
        h->idle = t->next;
        h->n_idle--;
        return t;
    }
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->client = h;
    buf_init(&t->field_text, FIELDS_MAX_BYTES);
    t->easy = curl_easy_init();
    t->url = curl_url();
    if (!t->easy || !t->url || !set_constants(h, t)) {
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
    t->next = h->idle;
    h->idle = t;
    h->n_idle++;
}

static int no_memory(struct store_err *err)
{
    return store_err_set(err, STORE_NO_MEMORY, "http: out of memory");
}

/* Each request has a CURLOPT_REQUEST_TARGET, and its URL is only where to connect: curl takes a URL
 * apart and puts it together again several times, byte by byte, and less of that with a CURLU. */
static int set_base_url(struct http_transfer *t, const char *base_url, struct store_err *err)
{
    if (t->base_url == base_url)
        return 0;
    t->base_url = NULL;
    CURLUcode rc = curl_url_set(t->url, CURLUPART_URL, base_url, 0);
    if (rc == CURLUE_OUT_OF_MEMORY || curl_easy_setopt(t->easy, CURLOPT_CURLU, t->url) != CURLE_OK)
        return no_memory(err);
    if (rc != CURLUE_OK)
        return store_err_set(err, STORE_INVALID, "http: %.150s: %s", base_url,
                             curl_url_strerror(rc));
    t->base_url = base_url;
    return 0;
}

/* ---- Clients ---- */

static void bury(void *user);

static void client_free(void *value)
{
    struct http_client *h = value;
    bury(h);
    while (h->idle) {
        struct http_transfer *t = h->idle;
        h->idle = t->next;
        transfer_free(t);
    }
    if (h->multi)
        curl_multi_cleanup(h->multi); /* closes the connections, and so calls on_close() */
    loop_timer_clear(h->loop, &h->timer);
    loop_defer_clear(h->loop, &h->kick);
    loop_defer_clear(h->loop, &h->admit);
    loop_defer_clear(h->loop, &h->bury);
    sockets_cleanup(&h->sockets);
    free(h->base_url);
    free(h->ca_file);
    free(h->client_cert_file);
    free(h->client_key_file);
    free(h);
}

static bool copy_text(char **out, const char *s)
{
    *out = s ? strdup(s) : NULL;
    return *out || !s;
}

static void admit(void *user);

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
    h->sockets = (struct sockets){.loop = l, .ready = on_ready, .user = h};
    h->earliest_ms = UINT64_MAX;
    h->timer = (struct loop_timer){.fn = run_curl, .user = h};
    h->kick = (struct loop_task){.fn = run_curl, .user = h};
    h->admit = (struct loop_task){.fn = admit, .user = h};
    h->bury = (struct loop_task){.fn = bury, .user = h};
    h->waiting.next = h->waiting.prev = &h->waiting;
    h->max_active = conf->max_connections;
    h->connect_timeout_ms =
        conf->connect_timeout_ms ? conf->connect_timeout_ms : DEFAULT_CONNECT_TIMEOUT_MS;
    h->multi = curl_multi_init();
    if (!copy_text(&h->base_url, conf->base_url) || !copy_text(&h->ca_file, ca) ||
        !copy_text(&h->client_cert_file, conf->client_cert_file) ||
        !copy_text(&h->client_key_file, conf->client_key_file) || !h->multi) {
        client_free(h);
        return NULL;
    }
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    /* Kept ones, twice as many as are used: a kept connection that curl drops for want of room
     * costs the next request a new one. */
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, 2L * conf->max_connections);
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
        no_memory(err);
    return h;
}

/* ---- Calls ---- */

/* False: no memory, and the method would be another. */
static bool set_method(struct http_transfer *t, const struct http_call *c)
{
    CURL *e = t->easy;
    bool ok = true;
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
        ok = set_text(e, CURLOPT_CUSTOMREQUEST, c->method);
    }
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)(c->stall_timeout_ms + 999) / 1000);
    return ok;
}

/* The list that curl reads, without an allocation for each node and line. */
static bool set_headers(struct http_transfer *t, const char *lines, bool expect_continue)
{
    struct buf *text = &t->field_text;
    size_t n = 0;
    buf_reset(text);
    /* First what curl would add by itself, unsigned: an Expect that many stores answer late, and
     * an Accept. */
    buf_adds(text, expect_continue ? "Expect: 100-continue\nAccept:\n" : "Expect:\nAccept:\n");
    buf_adds(text, lines);
    if (buf_failed(text))
        return false;
    for (char *line = text->data, *end; (end = strchr(line, '\n')); line = end + 1) {
        if (n == MAX_FIELDS)
            return false;
        *end = '\0';
        /* "Name:" would tell curl to leave the field out, "Name;" to send it empty. */
        if (end - line > 2 && end[-1] == ' ' && end[-2] == ':')
            memcpy(end - 2, ";", 2);
        t->fields[n] = (struct curl_slist){.data = line};
        if (n > 0)
            t->fields[n - 1].next = &t->fields[n];
        n++;
    }
    return curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->fields) == CURLE_OK;
}

static void active_add(struct http_transfer *t)
{
    struct http_client *h = t->client;
    t->prev = NULL;
    t->next = h->active;
    if (t->next)
        t->next->prev = t;
    h->active = t;
    h->n_active++;
}

static void active_remove(struct http_transfer *t)
{
    struct http_client *h = t->client;
    if (t->prev)
        t->prev->next = t->next;
    else
        h->active = t->next;
    if (t->next)
        t->next->prev = t->prev;
    h->n_active--;
}

/* Gives the call a handle and hands it to curl. */
static int begin(struct http_client *h, struct http_call *c, struct store_err *err)
{
    if (is_late(c))
        return store_err_set(err, STORE_TIMEOUT, LATE);
    struct http_transfer *t = transfer_take(h);
    if (!t)
        return no_memory(err);
    t->call = c;
    t->error_text[0] = '\0';
    t->no_memory = t->late = false;
    if (set_base_url(t, c->base_url ? c->base_url : h->base_url, err) != 0) {
        transfer_give_back(t);
        return -1;
    }
    if (!set_method(t, c) || !set_headers(t, c->headers ? c->headers : "", c->expect_continue) ||
        !set_text(t->easy, CURLOPT_REQUEST_TARGET, c->target) ||
        curl_multi_add_handle(h->multi, t->easy) != CURLM_OK) {
        transfer_give_back(t);
        return no_memory(err);
    }
    c->transfer = t;
    active_add(t);
    if (c->deadline_ms && c->deadline_ms < h->earliest_ms)
        h->earliest_ms = c->deadline_ms;
    return 0;
}

static void wait_begin(struct http_client *h, struct http_call *c)
{
    c->next = &h->waiting;
    c->prev = h->waiting.prev;
    c->prev->next = c;
    h->waiting.prev = c;
}

static void wait_end(struct http_call *c)
{
    c->prev->next = c->next;
    c->next->prev = c->prev;
}

int http_call_start(struct http_client *h, struct http_call *c, struct store_err *err)
{
    assert(!c->client);
    c->head_told = c->paused = false;
    http_head_reset(&c->answer);
    if (h->n_active >= h->max_active)
        wait_begin(h, c);
    else if (begin(h, c, err) != 0)
        return -1;
    c->client = h;
    return 0;
}

static void admit(void *user)
{
    struct http_client *h = user;
    while (h->n_active < h->max_active && h->waiting.next != &h->waiting) {
        struct http_call *c = h->waiting.next;
        struct store_err err;
        wait_end(c);
        if (begin(h, c, &err) != 0) {
            c->client = NULL;
            c->done(c, err.code == STORE_TIMEOUT ? HTTP_LATE : HTTP_NO_MEMORY, err.msg);
        }
    }
}

/* Takes the handle from curl; its connection is free again. */
static void release(struct http_transfer *t)
{
    struct http_client *h = t->client;
    curl_multi_remove_handle(h->multi, t->easy);
    active_remove(t);
    transfer_give_back(t);
    if (h->waiting.next != &h->waiting)
        loop_defer(h->loop, &h->admit);
}

static void bury(void *user)
{
    struct http_client *h = user;
    for (struct http_transfer *t = h->active, *next; t; t = next) {
        next = t->next;
        if (!t->call)
            release(t);
    }
}

static void give_up(struct http_transfer *t)
{
    t->call = NULL;
    loop_defer(t->client->loop, &t->client->bury);
}

void http_call_resume(struct http_call *c)
{
    if (!c->paused || !c->transfer)
        return;
    c->paused = false;
    if (curl_easy_pause(c->transfer->easy, CURLPAUSE_CONT) != CURLE_OK)
        starve(c->transfer);
    /* The pause may have hidden the end: let curl look. */
    loop_defer(c->transfer->client->loop, &c->transfer->client->kick);
}

void http_call_cancel(struct http_call *c)
{
    if (!c->client)
        return;
    if (!c->transfer)
        wait_end(c);
    else if (c->client->in_curl)
        give_up(c->transfer);
    else
        release(c->transfer);
    c->transfer = NULL;
    c->client = NULL;
}

void http_call_cleanup(struct http_call *c)
{
    buf_cleanup(&c->answer.meta);
}

/* Whether the server's TLS alert refuses our certificate, or the lack of one. With TLS 1.3 it comes
 * after the handshake, and libcurl has only OpenSSL's words for it. */
static bool is_refusal(const char *text)
{
    return strstr(text, " alert ") &&
           (strstr(text, "certificate") || strstr(text, "unknown ca") ||
            strstr(text, "access denied") || strstr(text, "handshake failure"));
}

static enum http_failure failure_of(CURLcode code, const char *text)
{
    switch (code) {
    case CURLE_OK: return HTTP_ANSWERED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT: return HTTP_NOT_SENT;
    case CURLE_SSL_CONNECT_ERROR: return is_refusal(text) ? HTTP_UNTRUSTED : HTTP_NOT_SENT;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return is_refusal(text) ? HTTP_UNTRUSTED : HTTP_BROKEN;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CLIENTCERT: return HTTP_UNTRUSTED;
    case CURLE_OUT_OF_MEMORY: return HTTP_NO_MEMORY;
    case CURLE_ABORTED_BY_CALLBACK:
    case CURLE_READ_ERROR:
    case CURLE_URL_MALFORMAT:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE: return HTTP_BAD_LOCAL;
    default: return HTTP_BROKEN;
    }
}

/* Takes the call from curl. Outside of curl's call-backs, so that `done` may start anew. */
static void end_call(struct http_transfer *t, enum http_failure failure, const char *detail)
{
    struct http_call *c = t->call;
    if (t->no_memory)
        failure = HTTP_NO_MEMORY;
    else if (t->late)
        failure = HTTP_LATE;
    c->transfer = NULL;
    c->client = NULL;
    release(t);
    if (failure == HTTP_ANSWERED)
        tell_head(c);
    c->done(c, failure, failure == HTTP_LATE ? LATE : detail);
}

/* By the clock as it is, not as it was when the round began. */
static void end_late(struct http_client *h)
{
    if (clock_mono_ms() < h->earliest_ms)
        return;
    for (struct http_transfer *t = h->active, *next; t; t = next) {
        next = t->next;
        if (t->call && is_late(t->call)) {
            end_call(t, HTTP_LATE, LATE);
            next = h->active; /* `done` may end others and begin new ones */
        }
    }
    h->earliest_ms = UINT64_MAX;
    for (const struct http_transfer *t = h->active; t; t = t->next)
        if (t->call && t->call->deadline_ms && t->call->deadline_ms < h->earliest_ms)
            h->earliest_ms = t->call->deadline_ms;
}

/* `done` may end others and begin new ones. */
static void end_starved(struct http_client *h)
{
    struct http_transfer *t = h->starved ? h->active : NULL;
    h->starved = false;
    while (t)
        if (t->no_memory && t->call) {
            end_call(t, HTTP_NO_MEMORY, "out of memory");
            t = h->active;
        } else {
            t = t->next;
        }
}

/* Ends the calls that are over. */
static void reap(struct http_client *h)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(h->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct http_transfer *t = transfer_of(m->easy_handle);
        CURLcode code = m->data.result;
        char detail[CURL_ERROR_SIZE];
        if (!t->call)
            continue; /* given up */
        const char *text = t->error_text[0] ? t->error_text : curl_easy_strerror(code);
        text_copy(detail, sizeof(detail), text);
        end_call(t, failure_of(code, detail), detail);
    }
}
