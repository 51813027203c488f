/* What may be set of librdkafka. No broker answers, and none is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "janitor/queue.h"

static void no_message(void *user, struct queue_msg *m)
{
    (void)user;
    queue_done(m);
}

static const struct queue_conf base_conf = {
    .brokers = "127.0.0.1:1",
    .group = "g",
    .deletions_topic = "deletions",
    .completions_topic = "completions",
    .deadletter_topic = "deadletter",
    .consume = true,
    .message = no_message,
};

static void settings_that_would_break_a_promise_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *message;
    } cases[] = {
        {"enable.auto.commit=true", "enable.auto.commit"},
        {"auto.commit.enable=true", "auto.commit.enable"},
        {"enable.auto.offset.store=true", "enable.auto.offset.store"},
        {"auto.offset.reset=latest", "auto.offset.reset"},
        {"consumer.auto.offset.reset=latest", "auto.offset.reset"},
        {"partition.assignment.strategy=cooperative-sticky", "partition.assignment.strategy"},
        {"group.id=other", "group.id"},
        {"group.instance.id=me", "group.instance.id"},
        {"bootstrap.servers=elsewhere:9092", "bootstrap.servers"},
        {"metadata.broker.list=elsewhere:9092", "metadata.broker.list"},
        {"producer.acks=0", "acks"},
        {"message.timeout.ms=1", "message.timeout.ms"},
        {"topic.message.timeout.ms=1", "the janitor's own"},
        {"producer.topic.acks=0", "the janitor's own"},
        {"enable.idempotence=false", "the janitor's own"},
        {"enable.gapless.guarantee=true", "the janitor's own"},
        {"partitioner=random", "the janitor's own"},
        {"topic.partitioner=random", "the janitor's own"},
        {"queuing.strategy=lifo", "the janitor's own"},
        {"isolation.level=read_uncommitted", "the janitor's own"},
        {"offset.store.method=file", "the janitor's own"},
        {"group.protocol.type=connect", "the janitor's own"},
        {"topic.blacklist=.*", "the janitor's own"},
        {"enabled_events=2", "the janitor's own"},
        {"log.queue=true", "the janitor's own"},
        {"internal.termination.signal=29", "the janitor's own"},
        {"test.mock.num.brokers=1", "the janitor's own"},
        {"dr_msg_cb=1", "dr_msg_cb"},
        {"sasl.mechanism=BOGUS", "'BOGUS'; expected PLAIN, "},
        {"sasl.mechanisms=plain", "'plain'; expected PLAIN, "},
        {"no.such.setting=1", "no.such.setting"},
        {"producer.no.such.setting=1", "no.such.setting"},
        {"security.protocol=bogus", "security.protocol"},
        {"hunter2", "name=value"},
        {"=hunter2", "name=value"},
        {"", "name=value"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct queue_conf conf = base_conf;
        const char *const extra[] = {cases[i].setting, NULL};
        struct queue *q = NULL;
        struct store_err err = {0};
        conf.extra = extra;
        assert_int_equal(queue_open(&conf, &q, &err), -1);
        print_message("%s\n", err.msg);
        assert_int_equal(err.code, STORE_INVALID);
        assert_non_null(strstr(err.msg, cases[i].message));
        assert_null(strstr(err.msg, "hunter2"));
    }
}

struct given {
    const char *name, *value;
};

/* Opens a queue with these settings of the options; what is wrong comes in *err. */
static int open_with(const struct given *given, size_t n, struct store_err *err)
{
    struct queue_conf conf = base_conf;
    struct queue *q = NULL;
    struct option_entry *settings = xcalloc(n + 1, sizeof(*settings));
    for (size_t i = 0; i < n && given[i].name; i++) {
        settings[i].name = xstrdup(given[i].name);
        settings[i].value = xstrdup(given[i].value);
    }
    conf.settings = settings;
    int checked = queue_check_settings(&conf, err);
    int rc = queue_open(&conf, &q, err);
    assert_true(rc == -1 || checked == 0);
    if (rc == 0)
        queue_close(q, 5000);
    for (size_t i = 0; i < n; i++) {
        free(settings[i].name);
        free(settings[i].value);
    }
    free(settings);
    return rc;
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void settings_by_their_names(void **state)
{
    (void)state;
    static char path[] = "/tmp/epufs-kafka-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const struct {
        const char *file;
        struct given settings[4];
        const char *message; /* NULL: taken */
    } cases[] = {
        {"", {{"client.id", "me"}, {"no.value", ""}, {"consumer.fetch.min.bytes", "1"}}, NULL},
        {"hunter2\n",
         {{"sasl.mechanism", "PLAIN"},
          {"security.protocol", "SASL_PLAINTEXT"},
          {"sasl.username", "u"},
          {"sasl.password_file", path}},
         NULL},
        /* An empty password would be none: the file's content is what counts. */
        {"\n", {{"sasl.password_file", path}}, "is empty"},
        {"", {{"sasl.password_file", "/nonexistent"}}, "'/nonexistent'"},
        {"hunter2", {{"client.id_file", path}}, "'client.id' cannot come from a file"},
        {"hunter2", {{"_file", path}}, "_file"},
        {"hunter2",
         {{"sasl.password_file", path}, {"sasl.password", "hunter2"}},
         "'sasl.password' is given too"},
        {"", {{"no.such.setting", "1"}}, "no.such.setting"},
        {"", {{"producer.acks", "0"}}, "the janitor's own"},
        {"hunter2",
         {{"security.protocol", "SSL"}, {"ssl.key.pem_file", path}},
         "the kafka settings make no consumer: ssl.key.pem failed"},
        {"",
         {{"security.protocol", "SASL_SSL"},
          {"sasl.mechanism", "PLAIN"},
          {"sasl.username", "hunter2"}},
         "the kafka settings make no consumer: sasl.username and sasl.password must be set"},
        {"", {{"consumer.group.id", "other"}}, "'group.id' is the janitor's own"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct store_err err = {0};
        write_text(path, cases[i].file);
        int rc = open_with(cases[i].settings, LEN(cases[i].settings), &err);
        print_message("%s\n", err.msg);
        assert_int_equal(rc, cases[i].message ? -1 : 0);
        assert_null(strstr(err.msg, "hunter2"));
        if (cases[i].message)
            assert_non_null(strstr(err.msg, cases[i].message));
    }
    unlink(path);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    struct queue_conf conf = base_conf;
    struct queue *q = NULL;
    struct store_err err = {0};
    conf.brokers = NULL;
    assert_int_equal(queue_open(&conf, &q, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    conf = base_conf;
    conf.group = "";
    assert_int_equal(queue_open(&conf, &q, &err), -1);
    conf = base_conf;
    conf.deletions_topic = "^.*";
    assert_int_equal(queue_open(&conf, &q, &err), -1);
    assert_non_null(strstr(err.msg, "pattern"));
}

static void other_settings_reach_their_side(void **state)
{
    (void)state;
    struct queue_conf conf = base_conf;
    const char *const extra[] = {"client.id=mine", "consumer.fetch.min.bytes=1",
                                 "producer.linger.ms=1", "fetch.wait.max.ms=50", NULL};
    struct queue *q = NULL;
    struct store_err err = {0};
    conf.extra = extra;
    assert_int_equal(queue_open(&conf, &q, &err), 0);
    queue_close(q, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_that_would_break_a_promise_are_refused),
        cmocka_unit_test(settings_by_their_names),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(other_settings_reach_their_side),
    };
    log_setup(LOG_ERROR, LOG_TEXT, "test_queue_settings");
    return cmocka_run_group_tests_name("queue_settings", tests, NULL, NULL);
}
