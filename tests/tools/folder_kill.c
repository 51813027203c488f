/* folder-kill FOLDER - kills a writer of a folder's store at each of its system calls, before it,
 * in the middle of its bytes, and after it, and checks each time with a fresh process that every
 * object is the old or the new one, that listings are right, and that the next writer gets on.
 *
 * Prints "N kills"; status 0 when all was well. Ends in less than a minute. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tools/faultline.h"
#include "tests/tools/folder_model.h"
#include "tests/tools/torture.h"

enum { CHILD_LIMIT_S = 60 };

static const struct {
    enum faultline_action action;
    const char *name;
} ways[] = {
    {FAULTLINE_KILL_BEFORE, "before"},
    {FAULTLINE_KILL_MIDWAY, "midway in"},
    {FAULTLINE_KILL_AFTER, "after"},
};

/* What a child may do; the parent keeps to one thread. */
struct task {
    const char *folder;
    const struct model_scenario *scenario;
    struct faultline_plan plan;
    bool kills_opening;
    bool is_last;     /* the writer was not killed */
    size_t leftovers; /* temporary files of the dead */
};

enum child { CHILD_WAS_KILLED, CHILD_ENDED };

static enum child in_child(int (*work)(const struct task *), const struct task *t)
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        torture_fail("fork");
    if (pid == 0) {
        alarm(CHILD_LIMIT_S);
        _exit(work(t));
    }
    if (waitpid(pid, &status, 0) != pid)
        torture_fail("waitpid");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return CHILD_WAS_KILLED;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        torture_fail("a child ended with status %#x", (unsigned)status);
    return CHILD_ENDED;
}

/* Runs into the kill, or past the last call. The calls of opening are the same each time, and count
 * once. */
static int write_once(const struct task *t)
{
    struct model_run r;
    struct faultline_report report;
    store *s = NULL;
    if (!t->kills_opening)
        s = model_open(t->folder);
    faultline_arm(&t->plan);
    if (t->kills_opening)
        s = model_open(t->folder);
    model_run(t->scenario, s, &r);
    store_close(s);
    faultline_disarm(&report);
    if (r.err.code != STORE_OK)
        torture_fail("%s", r.err.msg);
    if (report.hit)
        torture_fail("it lives after %s()", report.function);
    return 0;
}

/* Then the same keys are put and deleted again. */
static int check_once(const struct task *t)
{
    store *s = model_open(t->folder);
    model_check(s, t->scenario, t->is_last);
    model_reset(s);
    store_close(s);
    return 0;
}

static int reset_once(const struct task *t)
{
    store *s = model_open(t->folder);
    model_reset(s);
    store_close(s);
    return 0;
}

/* Files in the folder of temporary ones, which are made older than a day: the next store that opens
 * the folder removes them. */
static size_t age_temporary_files(const char *folder)
{
    char path[1024];
    size_t n = 0;
    const struct timespec old[2] = {{.tv_sec = time(NULL) - 90000}, {.tv_sec = time(NULL) - 90000}};
    snprintf(path, sizeof(path), "%s/tmp%%s", folder);
    DIR *d = opendir(path);
    if (!d)
        return 0; /* it is made when a store is opened first */
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        utimensat(dirfd(d), e->d_name, old, AT_SYMLINK_NOFOLLOW);
        n++;
    }
    closedir(d);
    return n;
}

/* Kills at one call after the other. */
static unsigned long kill_everywhere(struct task *t, size_t way)
{
    unsigned long kills = 0;
    enum child how = CHILD_WAS_KILLED;
    for (unsigned long nth = 1; how != CHILD_ENDED; nth++) {
        t->plan = (struct faultline_plan){
            .classes = FAULTLINE_SYSTEM, .action = ways[way].action, .nth = nth};
        torture_doing("%s, killed %s call %lu", t->scenario->name, ways[way].name, nth);
        how = in_child(write_once, t);
        kills += how == CHILD_WAS_KILLED;
        t->is_last = how != CHILD_WAS_KILLED;
        t->leftovers += age_temporary_files(t->folder);
        in_child(check_once, t);
        if (age_temporary_files(t->folder) != 0)
            torture_fail("old temporary files stay");
    }
    return kills;
}

int main(int argc, char **argv)
{
    unsigned long kills = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: folder-kill FOLDER\n");
        return 2;
    }
    faultline_skip_syncs();
    model_init();
    struct task t = {.folder = argv[1]};
    in_child(reset_once, &t);
    for (size_t i = 0; i < model_n_scenarios; i++) {
        t.scenario = &model_scenarios[i];
        if (t.scenario->is_right)
            continue; /* it only reads */
        t.kills_opening = i == 0;
        for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++)
            kills += kill_everywhere(&t, way);
    }
    if (t.leftovers == 0)
        torture_fail("no writer was killed while it had a temporary file");
    printf("%lu kills\n", kills);
    return 0;
}
