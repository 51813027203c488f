/* A development broker: librdkafka's mock cluster, served to other processes on 127.0.0.1.
 *
 * It speaks enough of Kafka's protocol for producers and consumer groups, keeps everything in
 * memory and picks its own port, so it writes host:port into a file as soon as it is ready.
 * SIGUSR1 makes it drop its clients and refuse new ones, SIGUSR2 takes them again: an outage that
 * keeps the messages. SIGALRM: the next batch that is published gets an error that is fatal for an
 * idempotent producer. SIGTERM and SIGINT end it. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

enum { MAX_TOPICS = 64, MAX_PARTITIONS = 1024, ALL_BROKERS = -1, API_PRODUCE = 0 };

struct topic {
    const char *name;
    int partitions;
};

struct args {
    const char *bootstrap_file;
    struct topic topics[MAX_TOPICS];
    size_t topic_count;
};

struct broker {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
};

static const char usage_text[] =
    "Usage: devbroker --bootstrap-file PATH [--topic NAME:PARTITIONS]...\n"
    "A mock of Kafka for development: in memory, on 127.0.0.1, until SIGTERM.\n"
    "SIGUSR1 starts an outage, SIGUSR2 ends it. SIGALRM: the next batch has lost its sequence.\n";

/* Splits NAME:PARTITIONS in place; the name stays in argv's memory. */
static int topic_parse(char *text, struct topic *topic)
{
    char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return -1;

    char *end = NULL;
    errno = 0;
    long partitions = strtol(colon + 1, &end, 10);
    if (errno || end == colon + 1 || *end || partitions < 1 || partitions > MAX_PARTITIONS)
        return -1;

    *colon = '\0';
    topic->name = text;
    topic->partitions = (int)partitions;
    return 0;
}

static int args_add_topic(struct args *args, char *text)
{
    if (args->topic_count == MAX_TOPICS) {
        fprintf(stderr, "devbroker: more than %d topics\n", MAX_TOPICS);
        return -1;
    }
    if (topic_parse(text, &args->topics[args->topic_count])) {
        fprintf(stderr, "devbroker: --topic wants NAME:PARTITIONS with 1 to %d partitions\n",
                MAX_PARTITIONS);
        return -1;
    }
    args->topic_count++;
    return 0;
}

static int args_parse(struct args *args, int argc, char **argv)
{
    static const struct option options[] = {
        {"bootstrap-file", required_argument, NULL, 'b'},
        {"topic", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'b': args->bootstrap_file = optarg; break;
        case 't':
            if (args_add_topic(args, optarg))
                return -1;
            break;
        case 'h': fputs(usage_text, stdout); exit(0);
        default: return -1;
        }
    }
    if (!args->bootstrap_file || optind != argc) {
        fputs(usage_text, stderr);
        return -1;
    }
    return 0;
}

static rd_kafka_conf_t *broker_conf(void)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    /* The handle itself connects to nothing; without this it warns that it has no servers. */
    rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
    return conf;
}

static int broker_start(struct broker *broker)
{
    char reason[512];
    rd_kafka_conf_t *conf = broker_conf();
    broker->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
    if (!broker->rk) {
        rd_kafka_conf_destroy(conf);
        fprintf(stderr, "devbroker: rd_kafka_new: %s\n", reason);
        return -1;
    }
    broker->cluster = rd_kafka_mock_cluster_new(broker->rk, 1);
    if (!broker->cluster) {
        fputs("devbroker: the mock cluster does not start\n", stderr);
        return -1;
    }
    return 0;
}

static void broker_stop(struct broker *broker)
{
    if (broker->cluster)
        rd_kafka_mock_cluster_destroy(broker->cluster);
    if (broker->rk)
        rd_kafka_destroy(broker->rk);
}

/* The mock's thread empties its wake-up pipe after it has answered a command. One that arrives in
 * between is not seen before a timer of a second, so the next command comes a moment later. */
static void let_mock_settle(void)
{
    static const struct timespec moment = {.tv_nsec = 5 * 1000 * 1000};
    nanosleep(&moment, NULL);
}

static int broker_create_topics(const struct broker *broker, const struct args *args)
{
    for (size_t i = 0; i < args->topic_count; i++) {
        const struct topic *topic = &args->topics[i];
        let_mock_settle();
        rd_kafka_resp_err_t code =
            rd_kafka_mock_topic_create(broker->cluster, topic->name, topic->partitions, 1);
        if (code) {
            fprintf(stderr, "devbroker: topic %s: %s\n", topic->name, rd_kafka_err2str(code));
            return -1;
        }
    }
    return 0;
}

static int write_line(const char *path, const char *line)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return -1;
    bool written = fprintf(file, "%s\n", line) > 0;
    return fclose(file) == 0 && written ? 0 : -1;
}

/* By rename, so that whoever waits for the file never reads half an address. */
static int publish_address(const char *path, const char *address)
{
    char draft[PATH_MAX];
    int length = snprintf(draft, sizeof(draft), "%s.tmp", path);
    if (length < 0 || (size_t)length >= sizeof(draft)) {
        fprintf(stderr, "devbroker: the path of the bootstrap file is too long\n");
        return -1;
    }
    if (write_line(draft, address) || rename(draft, path)) {
        fprintf(stderr, "devbroker: %s: %s\n", path, strerror(errno));
        unlink(draft);
        return -1;
    }
    return 0;
}

/* Blocked before librdkafka starts its threads, so that they inherit the mask and every one of
 * these signals waits for sigwaitinfo(). */
static void block_signals(sigset_t *set)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGALRM, SIGUSR1, SIGUSR2};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(set, signals[i]);
    sigprocmask(SIG_BLOCK, set, NULL);
}

static void serve(const struct broker *broker, const sigset_t *set)
{
    for (;;) {
        int got = sigwaitinfo(set, NULL);
        if (got == SIGUSR1) {
            rd_kafka_mock_broker_set_down(broker->cluster, ALL_BROKERS);
            puts("devbroker: outage begins");
        } else if (got == SIGUSR2) {
            rd_kafka_mock_broker_set_up(broker->cluster, ALL_BROKERS);
            puts("devbroker: outage ends");
        } else if (got == SIGALRM) {
            rd_kafka_mock_push_request_errors(broker->cluster, API_PRODUCE, 1,
                                              RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
            puts("devbroker: a sequence is lost");
        } else if (got != -1) {
            return;
        }
    }
}

static int run(struct broker *broker, const struct args *args, const sigset_t *set)
{
    if (broker_start(broker) || broker_create_topics(broker, args))
        return -1;

    const char *address = rd_kafka_mock_cluster_bootstraps(broker->cluster);
    if (publish_address(args->bootstrap_file, address))
        return -1;
    printf("devbroker: a MOCK of Kafka (librdkafka %s, in memory only) serves %s\n",
           rd_kafka_version_str(), address);

    serve(broker, set);
    unlink(args->bootstrap_file);
    return 0;
}

int main(int argc, char **argv)
{
    struct args args = {0};
    if (args_parse(&args, argc, argv))
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);

    sigset_t set;
    block_signals(&set);
    struct broker broker = {0};
    int result = run(&broker, &args, &set);
    broker_stop(&broker);
    return result ? 1 : 0;
}
