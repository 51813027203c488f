/* transfer_curl - the same GETs and PUTs as bench/transfer, with libcurl's multi interface as its
 * manual shows it: kept handles, curl_multi_poll(), no signature, its defaults otherwise.
 *
 *     transfer_curl get|put http(s)://HOST:PORT/BUCKET BYTES COUNT IN_FLIGHT [CA_FILE] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "base/xalloc.h"
#include "bench/program.h"

enum { POLL_MS = 1000, BODY_BYTES = 1 << 20 };

struct slot {
    CURL *easy;
    uint64_t left; /* bytes to send, or to receive */
};

struct run {
    struct transfer_args args;
    CURLM *multi;
    struct curl_slist *headers;
    char url[512];
    char *body;
    struct slot *slots;
    uint64_t limit, started, ended;
    bool failed;
};

static struct run run;

static size_t on_data(char *bytes, size_t size, size_t n, void *user)
{
    struct slot *s = user;
    (void)bytes;
    s->left -= size * n;
    return size * n;
}

static size_t on_read(char *buf, size_t size, size_t n, void *user)
{
    struct slot *s = user;
    size_t cap = size * n < BODY_BYTES ? size * n : BODY_BYTES;
    size_t bytes = s->left < cap ? (size_t)s->left : cap;
    memcpy(buf, run.body, bytes);
    s->left -= bytes;
    return bytes;
}

static void set_up(struct slot *s)
{
    s->easy = curl_easy_init();
    if (!s->easy) {
        fputs("transfer_curl: no memory\n", stderr);
        exit(1);
    }
    curl_easy_setopt(s->easy, CURLOPT_URL, run.url);
    curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
    curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(s->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
    if (run.args.ca_file)
        curl_easy_setopt(s->easy, CURLOPT_CAINFO, run.args.ca_file);
    if (!run.args.put)
        return;
    curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, run.headers);
    curl_easy_setopt(s->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(s->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)run.args.bytes);
    curl_easy_setopt(s->easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(s->easy, CURLOPT_READDATA, s);
}

static void start(struct slot *s)
{
    if (run.started == run.limit || run.failed)
        return;
    run.started++;
    s->left = run.args.bytes;
    curl_multi_add_handle(run.multi, s->easy);
}

static void check(const struct slot *s, CURLcode result)
{
    long status = 0;
    curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    if ((result == CURLE_OK && status == 200 && s->left == 0) || run.failed)
        return;
    run.failed = true;
    fprintf(stderr, "transfer_curl: %s: %s, status %ld, %" PRIu64 " bytes are missing\n", run.url,
            curl_easy_strerror(result), status, s->left);
}

static void take_ended(void)
{
    int queued;
    CURLMsg *m;
    while ((m = curl_multi_info_read(run.multi, &queued))) {
        CURLcode result = m->data.result;
        CURL *easy = m->easy_handle;
        struct slot *s = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &s);
        curl_multi_remove_handle(run.multi, easy);
        run.ended++;
        check(s, result);
        start(s);
    }
}

static void run_phase(uint64_t count)
{
    int running;
    run.limit += count;
    for (size_t i = 0; i < run.args.in_flight; i++)
        start(&run.slots[i]);
    while (run.ended < run.started && !run.failed) {
        CURLMcode rc = curl_multi_perform(run.multi, &running);
        take_ended();
        if (rc == CURLM_OK && running)
            rc = curl_multi_poll(run.multi, NULL, 0, POLL_MS, NULL);
        if (rc != CURLM_OK) {
            run.failed = true;
            fprintf(stderr, "transfer_curl: %s\n", curl_multi_strerror(rc));
        }
    }
}

int main(int argc, char **argv)
{
    char key[128];
    transfer_args_read(&run.args, "transfer_curl", argc, argv);
    transfer_key(&run.args, key, sizeof(key));
    snprintf(run.url, sizeof(run.url), "%s/%s", run.args.where, key);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    run.multi = curl_multi_init();
    /* Otherwise each large PUT waits for "100 Continue". libstore does not ask for it either. */
    run.headers = curl_slist_append(NULL, "Expect:");
    run.body = xcalloc(1, BODY_BYTES);
    run.slots = xcalloc(run.args.in_flight, sizeof(*run.slots));
    for (size_t i = 0; i < run.args.in_flight; i++)
        set_up(&run.slots[i]);
    run_phase(run.args.in_flight);
    struct usage began = usage_now();
    run_phase(run.args.count);
    if (!run.failed)
        usage_print(began, run.args.count);
    for (size_t i = 0; i < run.args.in_flight; i++) {
        curl_multi_remove_handle(run.multi, run.slots[i].easy);
        curl_easy_cleanup(run.slots[i].easy);
    }
    curl_multi_cleanup(run.multi);
    curl_slist_free_all(run.headers);
    curl_global_cleanup();
    free(run.slots);
    free(run.body);
    return run.failed ? 1 : 0;
}
