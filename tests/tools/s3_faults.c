/* s3-faults [TEXT] - lets each allocation and each system call of the S3 driver (and of what is
 * above it) fail once, with each error that it may have, in all scenarios of s3_model.h whose name
 * contains TEXT, and while a store is opened; also each system call of libcurl, and in some
 * scenarios each allocation of the libraries below. After each:
 *   - the operation has ended, once and in time, or did not begin;
 *   - what it calls a success is one: of what the store has, and of what the caller got;
 *   - what failed left each object old or new, and no unfinished upload that libstore could know;
 *   - the same works on the same store and loop;
 *   - no descriptor, no memory, no connection is left.
 *
 * Prints "N faults in M scenarios"; status 0 when all was well. */
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/tools/fake_s3.h"
#include "tests/tools/faultline.h"
#include "tests/tools/s3_model.h"
#include "tests/tools/torture.h"

enum { HANGS_S = 300, AT_ONCE = 6, SAMPLE = 12 };

struct torture {
    store *s;
    const struct s3_model_scenario *scenario; /* NULL: opening */
    bool warming_up;
    unsigned long faults;
};

/* ---- Checks ---- */

static void check_code(const struct faultline_plan *plan, const struct store_err *err)
{
    if (err->code == STORE_OK)
        return;
    if (err->code == STORE_TIMEOUT)
        torture_fail("it hung: %s", err->msg);
    /* Anything else would be a statement about the object, its conditions or the caller's right. */
    if (err->code != STORE_NO_MEMORY && err->code != STORE_BUSY && err->code != STORE_FAILED)
        torture_fail("a fault of ours is told as %s: %s", store_code_name(err->code), err->msg);
    if (!err->msg[0])
        torture_fail("%s without a message", store_code_name(err->code));
    if (plan->classes == FAULTLINE_MEMORY && !plan->everyone && err->code != STORE_NO_MEMORY)
        torture_fail("want of memory is told as %s: %s", store_code_name(err->code), err->msg);
}

/* When the answer to the beginning of an upload is lost, nobody knows its name; only want of memory
 * does not lose it, but for one that is asked for again. Where a put is given up, the removal may
 * be the call that failed. */
static void check_uploads(const struct torture *t, const struct faultline_plan *fault)
{
    struct fake_s3_uploads n = fake_s3_uploads();
    size_t excused = fault && !(fault->classes & FAULTLINE_MEMORY) ? n.unnamed
                     : n.begun > 1                                 ? n.begun - 1
                                                                   : 0;
    if (t->scenario->gives_up && fault)
        excused = n.begun;
    if (n.left > excused)
        torture_fail("%zu uploads are left of %zu", n.left, n.begun);
}

static bool is_as_wanted(const struct s3_model_scenario *m, const struct store_err *err)
{
    return err->code == (m->gives_up ? STORE_CANCELED : STORE_OK);
}

/* fault NULL: nothing disturbed it. */
static void check_run(struct torture *t, const struct s3_model_run *r,
                      const struct faultline_plan *fault)
{
    const struct s3_model_scenario *m = t->scenario;
    bool succeeded = r->err.code == STORE_OK;
    if (r->ends > 1)
        torture_fail("`done` came %u times", r->ends);
    if (succeeded && (m->gives_up || !r->ends))
        torture_fail("a success that cannot be");
    if (!fault && !is_as_wanted(m, &r->err))
        torture_fail("undisturbed, it ends with %s: %s", store_code_name(r->err.code), r->err.msg);
    if (succeeded && m->is_right && !m->is_right(r))
        torture_fail("it got something else");
    s3_model_check(m, succeeded);
    check_uploads(t, fault);
}

/* ---- One fault ---- */

static void run(const struct s3_model_scenario *m, struct s3_model_run *r)
{
    if (m->start(r))
        s3_model_finish(r);
}

/* What OpenSSL has for a thread is nobody's leak. */
static struct torture_use use_now(void)
{
    OPENSSL_thread_stop();
    return torture_use_now();
}

static void check_use(const struct torture *t, struct torture_use before)
{
    if (!fake_s3_wait_idle())
        torture_fail("a connection is left");
    OPENSSL_thread_stop();
    if (!t->warming_up)
        torture_check_use(before);
}

static void run_scenario(struct torture *t, const struct faultline_plan *plan,
                         struct faultline_report *report)
{
    struct s3_model_run r = {.s = t->s}, again = {.s = t->s};
    s3_model_reset();
    struct torture_use before = use_now();
    faultline_arm(plan);
    if (store_loop_new(&r.loop, &r.err) == 0)
        run(t->scenario, &r);
    faultline_disarm(report);
    torture_doing("%s, %scall %lu: %s() fails with error %d", t->scenario->name,
                  plan->everyone ? "with libraries, " : "", plan->nth, report->function,
                  report->error);
    if (!t->scenario->gives_up || r.err.code != STORE_CANCELED)
        check_code(plan, &r.err);
    check_run(t, &r, report->hit ? plan : NULL);
    s3_model_reset();
    again.loop = r.loop;
    if (!again.loop && store_loop_new(&again.loop, &again.err) != 0)
        torture_fail("no loop: %s", again.err.msg);
    torture_doing("%s, after %scall %lu: %s() failed with error %d", t->scenario->name,
                  plan->everyone ? "with libraries, " : "", plan->nth, report->function,
                  report->error);
    run(t->scenario, &again);
    check_run(t, &again, NULL);
    store_loop_free(again.loop);
    check_use(t, before);
}

/* Opens a store, makes a loop, and asks for something. */
static void run_open(struct torture *t, const struct faultline_plan *plan,
                     struct faultline_report *report)
{
    struct s3_model_run r = {.s = NULL};
    s3_model_reset();
    struct torture_use before = use_now();
    faultline_arm(plan);
    if (s3_model_open(&r.s, &r.err) == 0 && store_loop_new(&r.loop, &r.err) == 0)
        run(&s3_model_scenarios[0], &r);
    store_loop_free(r.loop);
    store_close(r.s);
    faultline_disarm(report);
    torture_doing("open, %scall %lu: %s() fails with error %d",
                  plan->everyone ? "with libraries, " : "", plan->nth, report->function,
                  report->error);
    check_code(plan, &r.err);
    if (r.err.code == STORE_OK && !s3_model_scenarios[0].is_right(&r))
        torture_fail("it got something else");
    check_use(t, before);
}

static void run_once(struct torture *t, const struct faultline_plan *plan,
                     struct faultline_report *report)
{
    if (t->scenario)
        run_scenario(t, plan, report);
    else
        run_open(t, plan, report);
}

/* Of the many times that a large transfer sends and receives, a sample. */
static unsigned long step_from(const struct torture *t, const struct faultline_plan *plan)
{
    bool sample = t->scenario && t->scenario->large && plan->everyone;
    return sample ? 1 + plan->nth / SAMPLE : 1;
}

static void fail_everywhere(struct torture *t, unsigned classes, bool everyone)
{
    struct faultline_plan plan = {.classes = classes, .nth = 1, .everyone = everyone};
    /* libcurl 7.88 does not survive it: it divides by the size of a table that it has not made. */
    plan.spare = classes == FAULTLINE_MEMORY ? "libcurl" : NULL;
    for (struct faultline_report report = {.hit = true}; report.hit;) {
        run_once(t, &plan, &report);
        t->faults += report.hit;
        if (++plan.variant >= report.variants) {
            plan.variant = 0;
            plan.nth += step_from(t, &plan);
        }
    }
}

/* Without a fault; what libraries allocate once is allocated then. */
static void warm_up(struct torture *t)
{
    struct faultline_report none;
    t->warming_up = true;
    run_once(t, &(struct faultline_plan){.nth = 0}, &none);
    t->warming_up = false;
}

static void torture(struct torture *t)
{
    alarm(HANGS_S);
    warm_up(t);
    fail_everywhere(t, FAULTLINE_MEMORY, false);
    if (t->scenario && t->scenario->large)
        fail_everywhere(t, FAULTLINE_SYSTEM, false);
    fail_everywhere(t, FAULTLINE_SYSTEM | FAULTLINE_NETWORK, true);
    if (t->scenario && t->scenario->libraries)
        fail_everywhere(t, FAULTLINE_MEMORY, true);
}

/* ---- All of them ---- */

/* Each in a process and with a fake of its own: most of the time is pauses before second tries. */
static pid_t begin(const struct s3_model_scenario *m, atomic_ulong *faults)
{
    struct torture t = {.scenario = m};
    struct store_err err;
    uint64_t began_ms = clock_mono_ms();
    pid_t child = fork();
    if (child != 0)
        return child;
    s3_model_begin();
    if (s3_model_open(&t.s, &err) != 0)
        torture_fail("%s", err.msg);
    torture(&t);
    store_close(t.s);
    s3_model_end();
    printf("%s: %lu faults in %.1f s\n", m ? m->name : "open", t.faults,
           (double)(clock_mono_ms() - began_ms) / 1000);
    atomic_fetch_add(faults, t.faults);
    exit(0); /* not _exit(): a sanitizer looks for leaks here */
}

static bool end_one(void)
{
    int status = 1;
    return wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    const char *filter = argc > 1 ? argv[1] : "";
    atomic_ulong *faults =
        mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t n = 0, running = 0;
    bool good = faults != MAP_FAILED;
    for (size_t i = 0; good && i <= s3_model_n_scenarios; i++) {
        const struct s3_model_scenario *m = i ? &s3_model_scenarios[i - 1] : NULL;
        if (!strstr(m ? m->name : "open", filter))
            continue;
        if (running == AT_ONCE) {
            good = end_one();
            running--;
        }
        good = good && begin(m, faults) > 0;
        n++;
        running++;
    }
    for (; running > 0; running--)
        good = end_one() && good;
    if (good)
        printf("%lu faults in %zu scenarios\n", atomic_load(faults), n);
    return good ? 0 : 1;
}
