#include "janitor/redis_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/xalloc.h"

/* "tls master db user password | host port | host port …"; '-' for what is not there. */
static void describe(const struct redis_url *u, struct buf *out)
{
    buf_addf(out, "%s %s %u %s %s", u->tls ? "tls" : "plain", u->master ? u->master : "-", u->db,
             u->user ? u->user : "-", u->password ? u->password : "-");
    for (size_t i = 0; i < u->n_nodes; i++)
        buf_addf(out, " | %s %u", u->nodes[i].host, u->nodes[i].port);
}

static void what_urls_say(void **state)
{
    (void)state;
    static const struct {
        const char *url, *expected;
    } cases[] = {
        {"redis://localhost", "plain - 0 - - | localhost 6379"},
        {"REDIS://localhost/", "plain - 0 - - | localhost 6379"},
        {"redis://127.0.0.1:6380/3", "plain - 3 - - | 127.0.0.1 6380"},
        {"redis://[::1]", "plain - 0 - - | ::1 6379"},
        {"redis://[::1]:6380/0", "plain - 0 - - | ::1 6380"},
        {"redis://:secret@host", "plain - 0 - secret | host 6379"},
        {"redis://user@host", "plain - 0 user - | host 6379"},
        {"redis://user:@host", "plain - 0 user  | host 6379"},
        {"redis://u%3A:se%40cr%3Aet@host:1/2", "plain - 2 u: se@cr:et | host 1"},
        {"redis://u:a@b@host", "plain - 0 u a@b | host 6379"},
        {"rediss://user:pw@host", "tls - 0 user pw | host 6379"},
        {"redis+sentinel://a/m", "plain m 0 - - | a 26379"},
        {"redis+sentinel://a:1,b,[::2]:3/m/4", "plain m 4 - - | a 1 | b 26379 | ::2 3"},
        {"rediss+sentinel://u:p@a,b/my%2Fmaster/", "tls my/master 0 u p | a 26379 | b 26379"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct redis_url u;
        struct buf text = BUF_INIT(1024);
        print_message("%s\n", cases[i].url);
        assert_true(redis_url_parse(cases[i].url, &u));
        describe(&u, &text);
        assert_string_equal(buf_str(&text), cases[i].expected);
        buf_cleanup(&text);
        redis_url_cleanup(&u);
    }
}

static void malformed_urls(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "host:6379",
        "http://host",
        "redis:/host",
        "redis://",
        "redis:///0",
        "redis://@host",
        "redis://host:",
        "redis://host:0",
        "redis://host:65536",
        "redis://host:6379x",
        "redis://host/x",
        "redis://host/1/2",
        "redis://host/1000001",
        "redis://host?db=1",
        "redis://host#1",
        "redis://host,host",
        "redis://[::1",
        "redis://[]",
        "redis://[::1]6379",
        "redis://:pw%zz@host",
        "redis://%00:pw@host",
        "redis://:pw@",
        "redis+sentinel://host",
        "redis+sentinel://host/",
        "redis+sentinel://host/m/x",
        "redis+sentinel://host/m/1/2",
        "redis+sentinel://host/m?x",
        "redis+sentinel://host,/m",
        "redis+sentinel://,host/m",
        "redis+sentinel://host,:1/m",
        "redis+sentinel://a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q/m",
        "redis-sentinel://host/m",
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        static const struct redis_url empty;
        struct redis_url u;
        print_message("%s\n", cases[i]);
        assert_false(redis_url_parse(cases[i], &u));
        assert_memory_equal(&u, &empty, sizeof(u));
    }
}

static void a_host_has_a_bound(void **state)
{
    (void)state;
    char url[8 + REDIS_HOST_SIZE + 1] = "redis://";
    struct redis_url u;
    memset(url + 8, 'h', REDIS_HOST_SIZE);
    assert_false(redis_url_parse(url, &u));
    url[8 + REDIS_HOST_SIZE - 1] = '\0';
    assert_true(redis_url_parse(url, &u));
    assert_int_equal(strlen(u.nodes[0].host), REDIS_HOST_SIZE - 1);
    redis_url_cleanup(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_urls_say),
        cmocka_unit_test(malformed_urls),
        cmocka_unit_test(a_host_has_a_bound),
    };
    return cmocka_run_group_tests_name("redis_url", tests, NULL, NULL);
}
