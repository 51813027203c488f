/* folder-faults FOLDER - lets each allocation and each system call of the folder driver (and of
 * what is above it) fail once, with each error that it may have, in all scenarios of
 * folder_model.h and while a store is opened. After each: the operation has ended in time; what it
 * calls a success is one; what failed left the old or the new; no descriptor, no memory, no
 * temporary file is left.
 *
 * Prints "N faults in M scenarios"; status 0 when all was well. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/tools/faultline.h"
#include "tests/tools/folder_model.h"
#include "tests/tools/torture.h"

enum { HANGS_S = 120 };

struct torture {
    const char *folder;
    store *s;
    const struct model_scenario *scenario; /* NULL: opening */
    bool warming_up;
    unsigned long faults;
};

/* ---- Checks ---- */

/* A temporary file may stay where removing it was what failed. */
static void check_temporary_files(const char *folder, const struct faultline_report *report)
{
    char path[1024], name[1300];
    snprintf(path, sizeof(path), "%s/tmp%%s", folder);
    if (torture_entries(path) == 0)
        return;
    if (strcmp(report->function, "unlinkat") != 0)
        torture_fail("a temporary file is left");
    DIR *d = opendir(path);
    if (!d)
        torture_fail("cannot read %s", path);
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        unlink(name);
    }
    closedir(d);
}

static void check_code(const struct faultline_report *report, unsigned classes,
                       const struct store_err *err)
{
    if (err->code == STORE_OK) {
        if (strcmp(report->function, "fsync") == 0)
            torture_fail("success, though nobody knows what the disk has");
        return;
    }
    if (err->code == STORE_TIMEOUT)
        torture_fail("it hung: %s", err->msg);
    if (!err->msg[0])
        torture_fail("%s without a message", store_code_name(err->code));
    bool full = (report->error == ENOSPC || report->error == EDQUOT) &&
                strcmp(report->function, "epoll_ctl") != 0; /* it speaks of no disk */
    if (full && err->code != STORE_NO_SPACE)
        torture_fail("a full disk is told as %s: %s", store_code_name(err->code), err->msg);
    if (classes == FAULTLINE_MEMORY && err->code != STORE_NO_MEMORY)
        torture_fail("want of memory is told as %s: %s", store_code_name(err->code), err->msg);
}

/* ---- One fault ---- */

static void run_scenario(struct torture *t, const struct faultline_plan *plan,
                         struct faultline_report *report)
{
    struct model_run r;
    model_reset(t->s);
    struct torture_use before = torture_use_now();
    faultline_arm(plan);
    model_run(t->scenario, t->s, &r);
    faultline_disarm(report);
    bool succeeded = r.err.code == STORE_OK;
    torture_doing("%s, call %lu: %s() fails with error %d", t->scenario->name, plan->nth,
                  report->function, report->error);
    if (!t->warming_up)
        torture_check_use(before);
    check_code(report, plan->classes, &r.err);
    if (succeeded && t->scenario->is_right && !t->scenario->is_right(&r))
        torture_fail("it read something else");
    check_temporary_files(t->folder, report);
    model_check(t->s, t->scenario, succeeded);
}

/* Opens a folder that there is, and one that has to be made. */
static void run_open(struct torture *t, const struct faultline_plan *plan,
                     struct faultline_report *report)
{
    char path[1000], url[1100], made[1100];
    store *s[2] = {NULL, NULL};
    struct store_err err[2] = {{.code = STORE_OK}, {.code = STORE_OK}};
    const struct store_conf conf = {.io_threads = 2};
    snprintf(path, sizeof(path), "%.900s-new", t->folder);
    struct torture_use before = torture_use_now();
    faultline_arm(plan);
    for (int i = 0; i < 2; i++) {
        snprintf(url, sizeof(url), "file://%s", i ? path : t->folder);
        if (store_open(url, &conf, &s[i], &err[i]) == 0)
            store_close(s[i]);
    }
    faultline_disarm(report);
    torture_doing("open, call %lu: %s() fails with error %d", plan->nth, report->function,
                  report->error);
    if (!t->warming_up)
        torture_check_use(before);
    for (int i = 0; i < 2; i++)
        if (err[i].code != STORE_OK) /* opening promises nothing about the disk */
            check_code(report, plan->classes, &err[i]);
    if (err[0].code != STORE_OK && err[1].code != STORE_OK)
        torture_fail("one fault, two failures");
    snprintf(made, sizeof(made), "%s/lock%%s", path);
    unlink(made);
    snprintf(made, sizeof(made), "%s/tmp%%s", path);
    rmdir(made);
    rmdir(path);
}

static void run_once(struct torture *t, const struct faultline_plan *plan,
                     struct faultline_report *report)
{
    if (t->scenario)
        run_scenario(t, plan, report);
    else
        run_open(t, plan, report);
}

static void fail_everywhere(struct torture *t, unsigned classes)
{
    struct faultline_plan plan = {.classes = classes, .nth = 1};
    for (struct faultline_report report = {.hit = true}; report.hit;) {
        run_once(t, &plan, &report);
        t->faults += report.hit;
        if (++plan.variant >= report.variants) {
            plan.variant = 0;
            plan.nth++;
        }
    }
}

/* Without a fault; what the system's libraries allocate once is allocated then, and a check of what
 * is in use would find it. */
static void warm_up(struct torture *t)
{
    struct faultline_report none;
    t->warming_up = true;
    run_once(t, &(struct faultline_plan){.nth = 0}, &none);
    t->warming_up = false;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: folder-faults FOLDER\n");
        return 2;
    }
    struct torture t = {.folder = argv[1]};
    faultline_skip_syncs();
    model_init();
    t.s = model_open(t.folder);
    model_reset(t.s);
    for (size_t i = 0; i <= model_n_scenarios; i++) {
        alarm(HANGS_S);
        t.scenario = i < model_n_scenarios ? &model_scenarios[i] : NULL;
        warm_up(&t);
        fail_everywhere(&t, FAULTLINE_MEMORY);
        fail_everywhere(&t, FAULTLINE_SYSTEM);
    }
    store_close(t.s);
    printf("%lu faults in %zu scenarios\n", t.faults, model_n_scenarios + 1);
    return 0;
}
