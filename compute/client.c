#include "compute/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/xalloc.h"

enum { PAUSE_MS = 100, PAUSE_MAX_MS = 2000, PROBLEM_MAX = 64 * 1024, MAX_POLL_MS = 1000 };

struct client {
    const struct compute_conf *conf;
    struct bearer *bearer;
    CURLM *multi;
    uint64_t retries_left;
};

/* One request under way. */
struct transfer {
    struct client *client;
    struct client_request *rq;
    CURL *easy;
    struct curl_slist *headers;
    char *url;
    bool is_running, is_done;
    bool has_begun; /* the sink has been told of this try's answer */
    unsigned tries;
    unsigned token;  /* its serial */
    uint64_t due_ms; /* when the next try begins */
    uint64_t sent;   /* of the body */
    uint64_t retry_after_ms;
    struct store_err cause; /* what a call-back of ours failed with */
};

/* ---- Requests ---- */

void client_request_init(struct client_request *rq, const char *method,
                         const struct scope *endpoint, const char *path)
{
    char scope[SCOPE_PATH_SIZE];
    struct buf out = BUF_INIT(CLIENT_PATH_SIZE - 1); /* 192, and 512 bytes as %XX at most */
    memset(rq, 0, sizeof(*rq));
    rq->method = method;
    rq->body_fd = -1;
    buf_init(&rq->text, CLIENT_TEXT_MAX);
    scope_path(endpoint, scope);
    buf_addf(&out, "/%s", scope);
    if (path) {
        buf_adds(&out, "/pgdata/");
        percent_encode(&out, path, strlen(path), true);
    }
    text_copy(rq->path, sizeof(rq->path), buf_str(&out));
    buf_cleanup(&out);
}

void client_request_cleanup(struct client_request *rq)
{
    buf_cleanup(&rq->text);
}

static bool is_put(const struct client_request *rq)
{
    return strcmp(rq->method, "PUT") == 0;
}

/* ---- The client ---- */

static int check_url(const char *name, const char *url, struct store_err *err)
{
    char shown[100];
    const char *rest = strncmp(url, "http://", 7) == 0    ? url + 7
                       : strncmp(url, "https://", 8) == 0 ? url + 8
                                                          : NULL;
    if (rest && *rest && !strpbrk(rest, "@?# ") && strcspn(rest, "/") > 0)
        return 0;
    return store_err_set(err, STORE_INVALID, "%s: '%s': expected http[s]://host[:port]", name,
                         text_excerpt(url, strlen(url), shown, sizeof(shown)));
}

static int check_conf(const struct compute_conf *conf, struct store_err *err)
{
    if (check_url("url", conf->url, err) != 0 ||
        (conf->writer_url && check_url("writer_url", conf->writer_url, err) != 0))
        return -1;
    if (conf->ca_file && access(conf->ca_file, R_OK) != 0)
        return store_err_errno(err, errno, "ca_file: cannot read '%s'", conf->ca_file);
    return 0;
}

int client_new(const struct compute_conf *conf, struct bearer *b, struct client **out,
               struct store_err *err)
{
    if (check_conf(conf, err) != 0)
        return -1;
    struct client *c = xcalloc(1, sizeof(*c));
    c->conf = conf;
    c->bearer = b;
    c->retries_left = conf->retries;
    c->multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
    if (!c->multi) {
        free(c);
        return store_err_set(err, STORE_NO_MEMORY, "libcurl does not start");
    }
    curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)conf->parallel);
    *out = c;
    return 0;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    curl_multi_cleanup(c->multi);
    free(c);
}

/* ---- What libcurl calls ---- */

/* libcurl only needs to know that it is no success. */
static size_t refuse(struct transfer *t, enum store_code code, const char *why)
{
    store_err_set(&t->cause, code, "%s", why);
    return 0;
}

static int take_sink(struct transfer *t, const void *bytes, size_t n)
{
    const struct client_sink *sink = t->rq->sink;
    if (!t->has_begun && sink->begin(t->rq->user, &t->cause) != 0)
        return -1;
    t->has_begun = true;
    return n ? sink->data(t->rq->user, bytes, n, &t->cause) : 0;
}

static size_t on_data(char *bytes, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    long status = 0;
    n *= size;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200 && t->rq->sink)
        return take_sink(t, bytes, n) == 0 ? n : 0;
    if (status != 200 && t->rq->text.len + n > PROBLEM_MAX)
        return n; /* whoever has so much to say of an error is not quoted */
    buf_add(&t->rq->text, bytes, n);
    return buf_failed(&t->rq->text) ? refuse(t, STORE_CORRUPT, "the answer is too long") : n;
}

/* The value of "name: value", without blanks and quotes. */
static bool header_value(const char *line, size_t n, const char *name, char *out, size_t cap)
{
    size_t len = strlen(name);
    if (n <= len || strncasecmp(line, name, len) != 0 || line[len] != ':')
        return false;
    const char *at = line + len + 1, *end = line + n;
    while (at < end && strchr(" \t\"", *at))
        at++;
    while (end > at && strchr(" \t\r\n\"", end[-1]))
        end--;
    if ((size_t)(end - at) >= cap)
        return false;
    text_copy(out, (size_t)(end - at) + 1, at);
    return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    char text[32];
    uint64_t seconds;
    n *= size;
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0)
        t->rq->etag[0] = '\0'; /* of the answer before, such as 100 Continue */
    header_value(line, n, "etag", t->rq->etag, sizeof(t->rq->etag));
    if (header_value(line, n, "retry-after", text, sizeof(text)) &&
        parse_u64(text, strlen(text), &seconds) && seconds < 3600)
        t->retry_after_ms = seconds * 1000;
    return n;
}

static size_t on_read(char *out, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    const struct client_request *rq = t->rq;
    uint64_t left = rq->body_size - t->sent;
    n = n * size < left ? n * size : (size_t)left;
    if (rq->body_text) {
        memcpy(out, rq->body_text + t->sent, n);
    } else if (n > 0) {
        ssize_t got = pread(rq->body_fd, out, n, (off_t)t->sent);
        if (got <= 0) {
            refuse(t, STORE_FAILED,
                   got < 0 ? "the file cannot be read" : "the file became shorter");
            return CURL_READFUNC_ABORT;
        }
        n = (size_t)got;
    }
    t->sent += n;
    return n;
}

static int on_seek(void *user, curl_off_t offset, int origin)
{
    struct transfer *t = user;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->rq->body_size)
        return CURL_SEEKFUNC_FAIL;
    t->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* ---- One try ---- */

static void add_header(struct transfer *t, const char *line)
{
    struct curl_slist *longer = curl_slist_append(t->headers, line);
    if (longer)
        t->headers = longer;
}

static void add_header_with(struct transfer *t, const char *name, const char *value)
{
    char *line = xasprintf("%s%s", name, value);
    add_header(t, line);
    explicit_bzero(line, strlen(line));
    free(line);
}

static void drop_headers(struct transfer *t)
{
    for (struct curl_slist *h = t->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data)); /* one is the token */
    curl_slist_free_all(t->headers);
    t->headers = NULL;
}

static void set_headers(struct transfer *t)
{
    const struct client_request *rq = t->rq;
    char quoted[CLIENT_ETAG_SIZE + 2];
    drop_headers(t);
    add_header_with(t, "Authorization: Bearer ", bearer_token(t->client->bearer));
    t->token = bearer_serial(t->client->bearer);
    if (rq->accept)
        add_header_with(t, "Accept: ", rq->accept);
    if (!is_put(rq))
        return;
    add_header(t, "Expect:"); /* no round trip before the body */
    add_header(t, "Content-Type: application/octet-stream");
    snprintf(quoted, sizeof(quoted), "\"%s\"", rq->if_match ? rq->if_match : "");
    if (rq->if_match && *rq->if_match)
        add_header_with(t, "If-Match: ", quoted);
    else if (rq->if_match)
        add_header(t, "If-None-Match: *");
}

static void set_body(struct transfer *t)
{
    curl_easy_setopt(t->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(t->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->rq->body_size);
    curl_easy_setopt(t->easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(t->easy, CURLOPT_SEEKDATA, t);
}

static void set_easy(struct transfer *t, uint64_t time_ms)
{
    const struct compute_conf *conf = t->client->conf;
    CURL *e = t->easy;
    curl_easy_reset(e);
    curl_easy_setopt(e, CURLOPT_URL, t->url);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "epufs-compute/" EPUFS_VERSION);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)conf->connect_timeout_ms);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)time_ms);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    if (conf->ca_file)
        curl_easy_setopt(e, CURLOPT_CAINFO, conf->ca_file);
    if (is_put(t->rq))
        set_body(t);
}

static void start_try(struct transfer *t, uint64_t now_ms, uint64_t deadline_ms)
{
    uint64_t time_ms = t->client->conf->request_timeout_ms;
    if (time_ms > deadline_ms - now_ms)
        time_ms = deadline_ms - now_ms;
    t->tries++;
    t->sent = 0;
    t->retry_after_ms = 0;
    t->has_begun = false;
    t->cause = (struct store_err){.code = STORE_OK};
    t->rq->status = 0;
    buf_reset(&t->rq->text);
    set_headers(t);
    set_easy(t, time_ms);
    curl_multi_add_handle(t->client->multi, t->easy);
    t->is_running = true;
}

/* ---- How it went ---- */

/* What a problem's "detail" says, made fit for a message. */
static void problem_detail(const struct buf *text, char *out, size_t cap)
{
    json_t *o = json_loadb(buf_str(text), text->len, 0, NULL);
    const char *detail = json_string_value(json_object_get(o, "detail"));
    text_copy(out, cap, NULL);
    if (detail)
        text_excerpt(detail, strlen(detail), out, cap);
    json_decref(o);
}

static enum store_code code_of(int status)
{
    switch (status) {
    case 401:
    case 403: return STORE_DENIED;
    case 404: return STORE_NOT_FOUND;
    case 410: return STORE_EXPIRED;
    case 412: return STORE_PRECONDITION;
    case 413:
    case 422: return STORE_INVALID;
    case 408:
    case 429: return STORE_BUSY;
    case 507: return STORE_NO_SPACE;
    default: return status >= 500 ? STORE_BUSY : STORE_FAILED;
    }
}

static void judge_status(struct transfer *t)
{
    struct client_request *rq = t->rq;
    char detail[120];
    rq->err = (struct store_err){.code = STORE_OK};
    if (rq->status == 200)
        return;
    problem_detail(&rq->text, detail, sizeof(detail));
    store_err_set(&rq->err, code_of(rq->status), "%s of %.60s was answered %d%s%s", rq->method,
                  strrchr(rq->path, '/') + 1, rq->status, *detail ? ": " : "", detail);
    rq->err.http_status = rq->status;
}

/* A certificate does not change by itself, nor does what a call-back of ours found. */
static bool may_change(CURLcode code)
{
    switch (code) {
    case CURLE_WRITE_ERROR:
    case CURLE_ABORTED_BY_CALLBACK:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_OUT_OF_MEMORY: return false;
    default: return true;
    }
}

static void judge_failure(struct transfer *t, CURLcode code)
{
    struct client_request *rq = t->rq;
    const char *name = strrchr(rq->path, '/') + 1;
    if (t->cause.code != STORE_OK) {
        rq->err = t->cause;
        return;
    }
    store_err_set(&rq->err,
                  code == CURLE_OPERATION_TIMEDOUT         ? STORE_TIMEOUT
                  : code == CURLE_PEER_FAILED_VERIFICATION ? STORE_DENIED
                  : code == CURLE_OUT_OF_MEMORY            ? STORE_NO_MEMORY
                  : may_change(code)                       ? STORE_BUSY
                                                           : STORE_FAILED,
                  "%s of %.60s: %s", rq->method, name, curl_easy_strerror(code));
    rq->is_unclear = rq->is_unclear || t->sent > 0;
}

static uint64_t pause_before(const struct transfer *t)
{
    uint64_t most = PAUSE_MS;
    uint16_t random = 0;
    for (unsigned i = 1; i < t->tries && most < PAUSE_MAX_MS; i++)
        most *= 2;
    if (most > PAUSE_MAX_MS)
        most = PAUSE_MAX_MS;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        random = (uint16_t)clock_mono_ms();
    most = most / 2 + most / 2 * random / UINT16_MAX;
    return most > t->retry_after_ms ? most : t->retry_after_ms;
}

/* Whether there is another try; then due_ms is set. */
static bool plan_retry(struct transfer *t, bool failure_may_change, uint64_t deadline_ms)
{
    struct client *c = t->client;
    int status = t->rq->status;
    bool renewed = status == 401 && bearer_refresh(c->bearer, t->token);
    bool may = renewed || (status == 0 ? failure_may_change : t->rq->err.code == STORE_BUSY);
    uint64_t due_ms = clock_mono_ms() + (renewed ? 0 : pause_before(t));
    if (t->rq->err.code == STORE_OK || !may || c->retries_left == 0 || due_ms >= deadline_ms)
        return false;
    c->retries_left--;
    t->due_ms = due_ms;
    if (status >= 500)
        t->rq->is_unclear = true;
    log_debug("request is repeated", LOG_ERR(&t->rq->err), LOG_U("tries", t->tries));
    return true;
}

static void end_try(struct transfer *t, CURLcode code, uint64_t deadline_ms)
{
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(t->client->multi, t->easy);
    t->is_running = false;
    /* An answer that broke off is none; a refusal that came before the body was sent is one. */
    t->rq->status =
        code == CURLE_OK || (status >= 400 && code == CURLE_SEND_ERROR) ? (int)status : 0;
    if (t->rq->status == 200 && t->rq->sink && !t->has_begun && take_sink(t, NULL, 0) != 0) {
        t->rq->status = 0;
        code = CURLE_WRITE_ERROR;
    }
    if (t->rq->status)
        judge_status(t);
    else
        judge_failure(t, code);
    t->is_done = !plan_retry(t, may_change(code), deadline_ms);
}

/* ---- All of them ---- */

static void give_up(struct transfer *t)
{
    struct client_request *rq = t->rq;
    if (t->is_running) {
        curl_multi_remove_handle(t->client->multi, t->easy);
        rq->is_unclear = rq->is_unclear || t->sent > 0;
    }
    if (t->tries == 0 || t->is_running)
        store_err_set(&rq->err, STORE_TIMEOUT, "%s of %.60s: not done in the time that there was",
                      rq->method, strrchr(rq->path, '/') + 1);
    t->is_running = false;
    t->is_done = true;
}

static void start_due(struct transfer *all, size_t n, uint64_t deadline_ms)
{
    uint64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < n; i++)
        if (!all[i].is_done && !all[i].is_running && all[i].due_ms <= now_ms &&
            now_ms < deadline_ms)
            start_try(&all[i], now_ms, deadline_ms);
}

/* Until the next try is due; libcurl itself knows when its connections want something. */
static int wait_ms(const struct transfer *all, size_t n, uint64_t deadline_ms)
{
    uint64_t now_ms = clock_mono_ms(), next_ms = deadline_ms;
    for (size_t i = 0; i < n; i++)
        if (!all[i].is_done && !all[i].is_running && all[i].due_ms < next_ms)
            next_ms = all[i].due_ms;
    uint64_t wait = next_ms > now_ms ? next_ms - now_ms : 0;
    return wait < MAX_POLL_MS ? (int)wait : MAX_POLL_MS;
}

static void take_ended(struct client *c, uint64_t deadline_ms)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left));) {
        struct transfer *t = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result; /* m is void once its handle is removed */
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)(void *)&t);
        end_try(t, code, deadline_ms);
    }
}

static size_t count_open(const struct transfer *all, size_t n)
{
    size_t open = 0;
    for (size_t i = 0; i < n; i++)
        open += !all[i].is_done;
    return open;
}

static void run_all(struct client *c, struct transfer *all, size_t n, uint64_t deadline_ms)
{
    while (count_open(all, n) > 0) {
        int running = 0;
        start_due(all, n, deadline_ms);
        curl_multi_perform(c->multi, &running);
        take_ended(c, deadline_ms);
        if (clock_mono_ms() >= deadline_ms) {
            for (size_t i = 0; i < n; i++)
                if (!all[i].is_done)
                    give_up(&all[i]);
        } else if (count_open(all, n) > 0) {
            curl_multi_poll(c->multi, NULL, 0, wait_ms(all, n, deadline_ms), NULL);
        }
    }
}

void client_perform(struct client *c, struct client_request *const *rqs, size_t n,
                    uint64_t deadline_ms)
{
    struct transfer *all = xcalloc(n ? n : 1, sizeof(*all));
    for (size_t i = 0; i < n; i++) {
        const char *base =
            is_put(rqs[i]) && c->conf->writer_url ? c->conf->writer_url : c->conf->url;
        size_t len = strlen(base);
        while (len > 0 && base[len - 1] == '/')
            len--;
        all[i] = (struct transfer){.client = c, .rq = rqs[i], .easy = curl_easy_init()};
        all[i].url = xasprintf("%.*s%s", (int)len, base, rqs[i]->path);
        rqs[i]->is_unclear = false;
        if (!all[i].easy) {
            store_err_set(&rqs[i]->err, STORE_NO_MEMORY, "libcurl has no memory");
            all[i].is_done = true;
        }
    }
    run_all(c, all, n, deadline_ms);
    for (size_t i = 0; i < n; i++) {
        curl_easy_cleanup(all[i].easy);
        drop_headers(&all[i]);
        free(all[i].url);
    }
    free(all);
}
