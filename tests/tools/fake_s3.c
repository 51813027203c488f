/* One thread for each connection, one lock around the state: see fake_s3.h. */
#include "tests/tools/fake_s3.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/codec.h"

#define XMLNS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

enum {
    MAX_OBJECTS = 512,
    MAX_UPLOADS = 16,
    MAX_PARTS = 8,
    ETAG = 40,
    HEAD_BYTES = 16384, /* of a request */
    BODY_MAX = 64 << 20,
    IDLE_MS = 10000,
};
static const size_t arena_bytes = (size_t)1 << 30; /* reserved, not used */

struct object {
    char key[FAKE_S3_KEY], head[FAKE_S3_HEAD], etag[ETAG];
    size_t at, size; /* in the arena */
};

struct part {
    size_t at, size;
    unsigned char md5[16];
};

struct upload { /* id is its place and one */
    bool open, named;
    char key[FAKE_S3_KEY], head[FAKE_S3_HEAD];
    struct part parts[MAX_PARTS]; /* size 0: none */
};

/* What a reset brings back. */
struct contents {
    struct object objects[MAX_OBJECTS]; /* in order */
    size_t n_objects;
    size_t used; /* of the arena, which only grows */
};

static struct shared {
    pthread_mutex_t lock;
    struct contents now, saved;
    struct upload uploads[MAX_UPLOADS];
    size_t n_uploads;
    int connections; /* accepted and not closed */
} * shared;
static char *arena;
static pid_t child;
static unsigned port;

_Noreturn static void give_up(const char *what)
{
    perror(what);
    _Exit(1);
}

/* ---- Requests ---- */

struct request {
    char head[HEAD_BYTES]; /* the lines */
    const char *method, *query;
    char key[1100]; /* "": the bucket */
    char *body;
    size_t size;
};

struct answer {
    int status;
    char head[FAKE_S3_HEAD + 256];
    struct buf xml;
    const char *bytes; /* of an object */
    size_t size;
    bool is_head; /* tells the size only */
};

static const char *header(const struct request *r, const char *name)
{
    char start[128];
    snprintf(start, sizeof(start), "\n%s: ", name);
    const char *at = strcasestr(r->head, start);
    return at ? at + strlen(start) : NULL;
}

/* Copied up to the line's end, without the quotes of an ETag. */
static bool header_text(const struct request *r, const char *name, char *out, size_t cap)
{
    const char *at = header(r, name);
    if (!at)
        return false;
    size_t n = strcspn(at, "\r");
    if (n >= 2 && at[0] == '"' && at[n - 1] == '"') {
        at++;
        n -= 2;
    }
    snprintf(out, cap, "%.*s", (int)n, at);
    return true;
}

static bool param(const struct request *r, const char *name, char *out, size_t cap)
{
    size_t len = strlen(name);
    for (const char *at = r->query; *at; at += strspn(at, "&")) {
        size_t n = strcspn(at, "&"), value_len;
        if (strncmp(at, name, len) == 0 && (at[len] == '=' || n == len)) {
            size_t skip = n == len ? n : len + 1;
            if (n - skip >= cap || !percent_decode(at + skip, n - skip, out, &value_len))
                give_up("fake: a bad query");
            return true;
        }
        at += n;
    }
    return false;
}

static bool has_param(const struct request *r, const char *name)
{
    char value[4096];
    return param(r, name, value, sizeof(value));
}

static void fail(struct answer *a, int status, const char *code)
{
    a->status = status;
    buf_reset(&a->xml);
    buf_addf(&a->xml, "<Error><Code>%s</Code><Message>fake</Message></Error>", code);
}

/* ---- Objects ---- */

static size_t place_of(const char *key)
{
    size_t i = 0;
    while (i < shared->now.n_objects && strcmp(shared->now.objects[i].key, key) < 0)
        i++;
    return i;
}

static struct object *find(const char *key)
{
    size_t i = place_of(key);
    struct object *o = &shared->now.objects[i];
    return i < shared->now.n_objects && strcmp(o->key, key) == 0 ? o : NULL;
}

static struct object *make(const char *key)
{
    struct contents *c = &shared->now;
    struct object *o = find(key);
    size_t i = place_of(key);
    if (o)
        return o;
    if (c->n_objects == MAX_OBJECTS || strlen(key) >= FAKE_S3_KEY)
        give_up("fake: too many objects, or a long key");
    memmove(&c->objects[i + 1], &c->objects[i], (c->n_objects - i) * sizeof(*o));
    c->n_objects++;
    o = &c->objects[i];
    *o = (struct object){.size = 0};
    snprintf(o->key, sizeof(o->key), "%s", key);
    return o;
}

static void drop(const char *key)
{
    struct contents *c = &shared->now;
    size_t i = place_of(key);
    if (!find(key))
        return;
    c->n_objects--;
    memmove(&c->objects[i], &c->objects[i + 1], (c->n_objects - i) * sizeof(c->objects[0]));
}

/* A copy of the bytes in the arena. */
static size_t keep(const void *bytes, size_t n)
{
    size_t at = shared->now.used;
    if (n > arena_bytes - at)
        give_up("fake: arena full");
    if (n)
        memcpy(arena + at, bytes, n);
    shared->now.used += n;
    return at;
}

static void md5_of(const void *bytes, size_t n, unsigned char out[16])
{
    if (EVP_Digest(bytes, n, out, NULL, EVP_md5(), NULL) != 1)
        give_up("fake: MD5");
}

/* What is kept of a request's head. */
static void keep_head(const struct request *r, char out[FAKE_S3_HEAD])
{
    size_t used = 0;
    for (const char *line = r->head; (line = strchr(line, '\n'));) {
        line++;
        size_t n = strcspn(line, "\n") + 1;
        if (strncasecmp(line, "x-amz-meta-", 11) != 0 &&
            strncasecmp(line, "content-type:", 13) != 0)
            continue;
        if (used + n >= FAKE_S3_HEAD)
            give_up("fake: too long a head");
        memcpy(out + used, line, n);
        used += n;
    }
    out[used] = '\0';
}

/* Whether what the request demands of an object is so; the answer is made when not. */
static bool holds(const struct request *r, const char *match, const char *none_match,
                  const struct object *o, struct answer *a)
{
    char text[200];
    bool is_get = r->method[0] == 'G' || r->method[0] == 'H';
    if (header_text(r, match, text, sizeof(text)) && (!o || strcmp(o->etag, text) != 0))
        fail(a, o ? 412 : 404, o ? "PreconditionFailed" : "NoSuchKey");
    else if (header_text(r, none_match, text, sizeof(text)) && o &&
             (text[0] == '*' || strcmp(o->etag, text) == 0))
        fail(a, is_get ? 304 : 412, "PreconditionFailed");
    else
        return true;
    return false;
}

static void put_object(const struct request *r, struct answer *a)
{
    unsigned char md5[16];
    if (!holds(r, "If-Match", "If-None-Match", find(r->key), a))
        return;
    struct object *o = make(r->key);
    o->at = keep(r->body, r->size);
    o->size = r->size;
    md5_of(r->body, r->size, md5);
    hex_encode(md5, sizeof(md5), o->etag);
    keep_head(r, o->head);
    snprintf(a->head, sizeof(a->head), "ETag: \"%s\"\r\n", o->etag);
}

static void copy_object(const struct request *r, struct answer *a)
{
    char name[2048];
    size_t n;
    header_text(r, "x-amz-copy-source", name, sizeof(name));
    char *key = strchr(name + 1, '/');
    if (!key || !percent_decode(key + 1, strlen(key + 1), key, &n))
        give_up("fake: a bad copy source");
    struct object *from = find(key);
    if (!from)
        fail(a, 404, "NoSuchKey");
    if (!from ||
        !holds(r, "x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match", from, a))
        return;
    const struct object copied = *from; /* what is made may move it */
    struct object *o = make(r->key);
    memcpy(o->head, copied.head, sizeof(o->head));
    memcpy(o->etag, copied.etag, sizeof(o->etag));
    o->at = copied.at;
    o->size = copied.size;
    buf_addf(&a->xml, "<CopyObjectResult" XMLNS "><ETag>\"%s\"</ETag></CopyObjectResult>", o->etag);
}

/* A range that begins inside; one behind the end is answered with 416. */
static bool take_range(const struct request *r, const struct object *o, struct answer *a)
{
    char text[100];
    uint64_t first = 0, last = UINT64_MAX;
    if (!header_text(r, "Range", text, sizeof(text)))
        return true;
    const char *from = text + strlen("bytes="), *dash = strchr(text, '-');
    if (!dash || !parse_u64(from, (size_t)(dash - from), &first) ||
        (dash[1] && !parse_u64(dash + 1, strlen(dash + 1), &last)) || first >= o->size) {
        fail(a, 416, "InvalidRange");
        return false;
    }
    last = last < o->size ? last : o->size - 1;
    a->status = 206;
    a->bytes += first;
    a->size = last - first + 1;
    size_t used = strlen(a->head);
    snprintf(a->head + used, sizeof(a->head) - used,
             "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%zu\r\n", first, last, o->size);
    return true;
}

static void get_object(const struct request *r, struct answer *a)
{
    const struct object *o = find(r->key);
    if (!o)
        fail(a, 404, "NoSuchKey");
    if (!o || !holds(r, "If-Match", "If-None-Match", o, a))
        return;
    a->bytes = arena + o->at;
    a->size = o->size;
    snprintf(a->head, sizeof(a->head), "%sETag: \"%s\"\r\n", o->head, o->etag);
    take_range(r, o, a);
}

/* ---- Multipart uploads ---- */

static struct upload *upload_of(const struct request *r, struct answer *a)
{
    char id[32];
    uint64_t number = 0;
    param(r, "uploadId", id, sizeof(id));
    if (parse_u64(id, strlen(id), &number) && number > 0 && number <= shared->n_uploads) {
        struct upload *u = &shared->uploads[number - 1];
        if (u->open && strcmp(u->key, r->key) == 0) {
            u->named = true;
            return u;
        }
    }
    fail(a, 404, "NoSuchUpload");
    return NULL;
}

static void begin_upload(const struct request *r, struct answer *a)
{
    if (shared->n_uploads == MAX_UPLOADS)
        give_up("fake: too many uploads");
    struct upload *u = &shared->uploads[shared->n_uploads++];
    *u = (struct upload){.open = true};
    snprintf(u->key, sizeof(u->key), "%.*s", FAKE_S3_KEY - 1, r->key);
    keep_head(r, u->head);
    buf_addf(&a->xml,
             "<InitiateMultipartUploadResult" XMLNS "><UploadId>%zu</UploadId>"
             "</InitiateMultipartUploadResult>",
             shared->n_uploads);
}

static void put_part(const struct request *r, struct answer *a)
{
    char number_text[16], etag[ETAG];
    uint64_t number = 0;
    struct upload *u = upload_of(r, a);
    if (!u)
        return;
    param(r, "partNumber", number_text, sizeof(number_text));
    if (!parse_u64(number_text, strlen(number_text), &number) || number < 1 || number > MAX_PARTS)
        give_up("fake: a bad part number");
    struct part *p = &u->parts[number - 1];
    p->at = keep(r->body, r->size);
    p->size = r->size;
    md5_of(r->body, r->size, p->md5);
    hex_encode(p->md5, sizeof(p->md5), etag);
    snprintf(a->head, sizeof(a->head), "ETag: \"%s\"\r\n", etag);
}

/* The parts' bytes one behind the other; returns how many parts. */
static size_t join_parts(const struct upload *u, struct object *o)
{
    unsigned char md5s[MAX_PARTS * 16], md5[16];
    char hex[33];
    size_t n = 0;
    o->at = shared->now.used;
    o->size = 0;
    for (; n < MAX_PARTS && u->parts[n].size; n++) {
        keep(arena + u->parts[n].at, u->parts[n].size);
        o->size += u->parts[n].size;
        memcpy(md5s + n * 16, u->parts[n].md5, 16);
    }
    md5_of(md5s, n * 16, md5);
    hex_encode(md5, sizeof(md5), hex);
    snprintf(o->etag, sizeof(o->etag), "%s-%zu", hex, n);
    return n;
}

static size_t count_text(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static void end_upload(const struct request *r, struct answer *a)
{
    struct upload *u = upload_of(r, a);
    if (!u || !holds(r, "If-Match", "If-None-Match", find(r->key), a))
        return;
    struct object joined;
    if (join_parts(u, &joined) != count_text(r->body, "<PartNumber>")) {
        fail(a, 400, "InvalidPart");
        return;
    }
    struct object *o = make(r->key);
    o->at = joined.at;
    o->size = joined.size;
    memcpy(o->etag, joined.etag, sizeof(o->etag));
    memcpy(o->head, u->head, sizeof(o->head));
    u->open = false;
    buf_addf(&a->xml,
             "<CompleteMultipartUploadResult" XMLNS "><ETag>\"%s\"</ETag>"
             "</CompleteMultipartUploadResult>",
             o->etag);
}

static void abort_upload(const struct request *r, struct answer *a)
{
    struct upload *u = upload_of(r, a);
    if (!u)
        return;
    u->open = false;
    a->status = 204;
}

/* ---- The bucket ---- */

static void list(const struct request *r, struct answer *a)
{
    char prefix[FAKE_S3_KEY] = "", after[FAKE_S3_KEY] = "", max_text[16] = "1000";
    uint64_t max = 0, n = 0;
    size_t i = 0;
    param(r, "prefix", prefix, sizeof(prefix));
    param(r, "max-keys", max_text, sizeof(max_text));
    if (!param(r, "continuation-token", after, sizeof(after)))
        param(r, "start-after", after, sizeof(after));
    if (!parse_u64(max_text, strlen(max_text), &max))
        give_up("fake: a bad max-keys");
    const struct object *last = NULL;
    buf_adds(&a->xml, "<ListBucketResult" XMLNS ">");
    for (; i < shared->now.n_objects; i++) {
        const struct object *o = &shared->now.objects[i];
        if (strncmp(o->key, prefix, strlen(prefix)) != 0 || strcmp(o->key, after) <= 0)
            continue;
        if (n == max)
            break;
        n++;
        last = o;
        buf_addf(&a->xml,
                 "<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"
                 "<ETag>\"%s\"</ETag><Size>%zu</Size></Contents>",
                 o->key, o->etag, o->size);
    }
    bool more = i < shared->now.n_objects && last;
    buf_addf(&a->xml, "<IsTruncated>%s</IsTruncated>", more ? "true" : "false");
    if (more)
        buf_addf(&a->xml, "<NextContinuationToken>%s</NextContinuationToken>", last->key);
    buf_adds(&a->xml, "</ListBucketResult>");
}

static void delete_batch(const struct request *r, struct answer *a)
{
    char key[FAKE_S3_KEY];
    for (const char *at = r->body; (at = strstr(at, "<Key>"));) {
        at += strlen("<Key>");
        snprintf(key, sizeof(key), "%.*s", (int)strcspn(at, "<"), at);
        drop(key);
    }
    buf_adds(&a->xml, "<DeleteResult" XMLNS "></DeleteResult>");
}

/* ---- Serving ---- */

static void serve_put(const struct request *r, struct answer *a)
{
    if (has_param(r, "uploadId"))
        put_part(r, a);
    else if (header(r, "x-amz-metadata-directive"))
        fail(a, 501, "NotImplemented");
    else if (header(r, "x-amz-copy-source"))
        copy_object(r, a);
    else
        put_object(r, a);
}

static void serve_post(const struct request *r, struct answer *a)
{
    if (has_param(r, "uploads"))
        begin_upload(r, a);
    else if (has_param(r, "uploadId"))
        end_upload(r, a);
    else if (has_param(r, "delete"))
        delete_batch(r, a);
    else
        fail(a, 501, "NotImplemented");
}

static void serve(const struct request *r, struct answer *a)
{
    a->is_head = strcmp(r->method, "HEAD") == 0;
    if (a->is_head || (strcmp(r->method, "GET") == 0 && r->key[0])) {
        get_object(r, a);
    } else if (strcmp(r->method, "GET") == 0) {
        list(r, a);
    } else if (strcmp(r->method, "PUT") == 0) {
        serve_put(r, a);
    } else if (strcmp(r->method, "POST") == 0) {
        serve_post(r, a);
    } else if (strcmp(r->method, "DELETE") == 0 && has_param(r, "uploadId")) {
        abort_upload(r, a);
    } else if (strcmp(r->method, "DELETE") == 0) {
        drop(r->key);
        a->status = 204;
    } else {
        fail(a, 501, "NotImplemented");
    }
}

/* ---- HTTP ---- */

static bool send_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Reads up to the empty line; what came behind it is the body's. Returns how much that is, or -1.
 */
static ssize_t read_head(int fd, struct request *r, char *rest)
{
    size_t n = 0;
    for (;;) {
        ssize_t got = recv(fd, r->head + n, sizeof(r->head) - 1 - n, 0);
        if (got <= 0)
            return -1;
        n += (size_t)got;
        r->head[n] = '\0';
        char *end = strstr(r->head, "\r\n\r\n");
        if (!end)
            continue;
        size_t behind = (size_t)(r->head + n - end - 4);
        memcpy(rest, end + 4, behind);
        end[2] = '\0';
        return (ssize_t)behind;
    }
}

/* Takes "METHOD /bucket/key?query HTTP/1.1" apart, in a copy of it. */
static void take_line(struct request *r, char *line)
{
    size_t n;
    char *space = strchr(line, ' ');
    char *target = space + 1, *end = strchr(target, ' ');
    *space = *end = '\0';
    char *query = strchr(target, '?');
    if (query)
        *query = '\0';
    char *slash = strchr(target + 1, '/');
    const char *key = slash ? slash + 1 : "";
    r->method = line;
    r->query = query ? query + 1 : "";
    if (strlen(key) >= sizeof(r->key) || !percent_decode(key, strlen(key), r->key, &n))
        give_up("fake: a bad key");
}

static bool read_request(int fd, struct request *r, char line[HEAD_BYTES])
{
    char rest[HEAD_BYTES];
    uint64_t size = 0;
    ssize_t got = read_head(fd, r, rest);
    if (got < 0)
        return false;
    size_t n = strcspn(r->head, "\r");
    memcpy(line, r->head, n);
    line[n] = '\0';
    take_line(r, line);
    const char *length = header(r, "Content-Length");
    if (length && (!parse_u64(length, strcspn(length, "\r"), &size) || size > BODY_MAX))
        give_up("fake: a bad length");
    r->size = (size_t)size;
    r->body = malloc(r->size + 1);
    if (!r->body)
        give_up("fake: malloc");
    memcpy(r->body, rest, (size_t)got);
    for (size_t have = (size_t)got; have < r->size; have += (size_t)got)
        if ((got = recv(fd, r->body + have, r->size - have, 0)) <= 0)
            return false;
    r->body[r->size] = '\0';
    return true;
}

static bool send_answer(int fd, const struct answer *a)
{
    char date[CLOCK_TEXT];
    struct buf out = BUF_INIT(1 << 20);
    const char *bytes = a->bytes ? a->bytes : buf_str(&a->xml);
    size_t n = a->bytes ? a->size : a->xml.len;
    clock_http_date(clock_real_s(), date);
    buf_addf(&out, "HTTP/1.1 %d Fake\r\nDate: %s\r\n%s", a->status, date, a->head);
    if (a->status != 204 && a->status != 304)
        buf_addf(&out, "Content-Length: %zu\r\n", n);
    buf_adds(&out, "\r\n");
    bool bare = a->is_head || a->status == 204 || a->status == 304;
    bool sent = send_all(fd, out.data, out.len) && (bare || send_all(fd, bytes, n));
    buf_cleanup(&out);
    return sent;
}

/* Whether the client is gone. What it asked for before is not done any more then: it might come
 * after a reset. To be asked under the lock. */
static bool is_abandoned(int fd)
{
    char next;
    ssize_t n = recv(fd, &next, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

static bool serve_one(int fd)
{
    static _Thread_local char line[HEAD_BYTES];
    static _Thread_local struct request r;
    struct answer a = {.status = 200, .xml = BUF_INIT(4 << 20)};
    r.body = NULL;
    bool whole = read_request(fd, &r, line);
    if (whole) {
        pthread_mutex_lock(&shared->lock);
        whole = !is_abandoned(fd);
        if (whole)
            serve(&r, &a);
        pthread_mutex_unlock(&shared->lock);
        whole = whole && send_answer(fd, &a);
    }
    free(r.body);
    buf_cleanup(&a.xml);
    return whole;
}

static int count_connection(int by)
{
    pthread_mutex_lock(&shared->lock);
    int n = shared->connections += by;
    pthread_mutex_unlock(&shared->lock);
    return n;
}

static void *run_connection(void *user)
{
    int fd = (int)(intptr_t)user;
    while (serve_one(fd))
        ;
    close(fd);
    count_connection(-1);
    return NULL;
}

_Noreturn static void run(int listener)
{
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            give_up("fake: accept");
        /* An answer's head and body are two calls. */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        count_connection(1);
        if (pthread_create(&thread, &detached, run_connection, (void *)(intptr_t)fd) != 0)
            give_up("fake: pthread_create");
    }
}

/* ---- The parent's side ---- */

static void *share(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        give_up("fake: mmap");
    return p;
}

unsigned fake_s3_start(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    pthread_mutexattr_t attr;
    shared = share(sizeof(*shared));
    arena = share(arena_bytes);
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->lock, &attr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(listener, 64) != 0 || getsockname(listener, (struct sockaddr *)&at, &n) != 0)
        give_up("fake: cannot listen");
    child = fork();
    if (child < 0)
        give_up("fake: fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(listener);
    }
    close(listener);
    port = ntohs(at.sin_port);
    return port;
}

void fake_s3_stop(void)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

void fake_s3_save(void)
{
    pthread_mutex_lock(&shared->lock);
    shared->saved = shared->now;
    pthread_mutex_unlock(&shared->lock);
}

void fake_s3_reset(void)
{
    pthread_mutex_lock(&shared->lock);
    shared->now = shared->saved;
    shared->n_uploads = 0;
    pthread_mutex_unlock(&shared->lock);
}

/* Connections are accepted in their order: when ours was served, all before it were counted. */
static void wait_accepted(void)
{
    char end;
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
        shutdown(fd, SHUT_WR) != 0 || recv(fd, &end, 1, 0) != 0)
        give_up("fake: does not answer");
    close(fd);
}

bool fake_s3_wait_idle(void)
{
    uint64_t until_ms = clock_mono_ms() + IDLE_MS;
    wait_accepted();
    while (count_connection(0) > 0) {
        if (clock_mono_ms() > until_ms)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return true;
}

bool fake_s3_find(const char *key, struct fake_s3_object *out)
{
    static struct object found;
    pthread_mutex_lock(&shared->lock);
    const struct object *o = find(key);
    if (o)
        found = *o;
    pthread_mutex_unlock(&shared->lock);
    *out = (struct fake_s3_object){found.key, found.head, arena + found.at, found.size};
    return o;
}

size_t fake_s3_count(const char *prefix)
{
    size_t n = 0;
    pthread_mutex_lock(&shared->lock);
    for (size_t i = 0; i < shared->now.n_objects; i++)
        n += strncmp(shared->now.objects[i].key, prefix, strlen(prefix)) == 0;
    pthread_mutex_unlock(&shared->lock);
    return n;
}

struct fake_s3_uploads fake_s3_uploads(void)
{
    struct fake_s3_uploads n = {.left = 0};
    pthread_mutex_lock(&shared->lock);
    n.begun = shared->n_uploads;
    for (size_t i = 0; i < shared->n_uploads; i++) {
        const struct upload *u = &shared->uploads[i];
        n.left += u->open;
        n.unnamed += u->open && !u->named;
    }
    pthread_mutex_unlock(&shared->lock);
    return n;
}
