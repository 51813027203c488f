/* The deletion of generations, step by step: two janitors, two writers, the control plane, Kafka and
 * Redis around the store. Shown: P1 to P5, with crashes, frozen processes, repeated and late events.
 *
 * There is no time here. What time does for the drain is window.pml's: an upload that passed its
 * look before the tombstone ends before the drain does, one that passed it later may end at any
 * time. A janitor or writer that does not move for long is one that is frozen. */
#ifndef EVENTS
#define EVENTS 1 /* event e deletes the generations <= e of the timeline's endpoint */
#endif
#define GENERATIONS (EVENTS + 1) /* attachments to the timeline, each after one elsewhere */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifdef FAULT_FREE
#define REPEATS 0
#endif
#ifndef REPEATS
#define REPEATS 1 /* how often an event that counts as done may come once more, all in all */
#endif
#define JANITORS 2

/* A promise that is broken stops the run, and is named by it. */
#define keep(promise, condition) promise = promise && (condition); assert(promise)

bool P1_holds = true, P2_holds = true, P3_holds = true, P4_holds = true, P5_holds = true;
bool once_holds = true; /* one completion of one event, where nothing fails */

/* ---- What is durable ---- */

/* The store. */
bool tombstone[EVENTS + 1];
bool intent[EVENTS + 1];
#ifdef NO_GEN_IN_KEY
byte file; /* one key: the generation of what lies there, 0: nothing */
#define is_there(g) (file == (g))
#else
bool file[GENERATIONS + 1]; /* a key for each generation */
#define is_there(g) file[g]
#endif
/* Kafka. */
bool sent[EVENTS + 1], offset_done[EVENTS + 1], completed[EVENTS + 1];
byte repeats = REPEATS;
/* Redis. */
byte lease[EVENTS + 1]; /* janitor, 0: nobody */

/* ---- What is not ---- */

byte issued = 1;   /* the highest generation that ever had a token */
byte attached = 1; /* the current one; 0: the endpoint is elsewhere */
byte upload[WRITERS];     /* the generation of the upload that has passed its look; 0: none */
byte old_uploads[EVENTS + 1]; /* bits of writers: passed their look before the tombstone */
byte at[JANITORS + 1];    /* the event that a janitor is about; 0: none */

/* ---- Control plane ---- */

active proctype control_plane()
{
    byte g = 1;
    do
    :: g <= EVENTS ->
        atomic { attached = 0; sent[g] = true }
        g++;
        atomic { attached = g; issued = g }
    :: else -> break
    od
}

/* ---- Writers ---- */

inline is_fenced(g, yes)
{
    yes = false;
    e = 1;
    do
    :: e <= EVENTS ->
#ifdef TOMBSTONE_WITHOUT_GEN
        yes = yes || tombstone[e];
#else
        yes = yes || (tombstone[e] && g <= e);
#endif
        e++
    :: else -> break
    od;
    e = 0
}

/* The file appears. */
inline store_file(g)
{
    e = 1;
    do
    :: e <= EVENTS -> keep(P1_holds, !(completed[e] && g <= e)); e++
    :: else -> break
    od;
    e = 0;
#ifdef NO_GEN_IN_KEY
    keep(P3_holds, file <= g);
    file = g
#else
    file[g] = true
#endif
}

inline end_upload()
{
    upload[me] = 0;
    e = 1;
    do
    :: e <= EVENTS -> old_uploads[e] = old_uploads[e] & ~(1 << me); e++
    :: else -> break
    od;
    e = 0
}

proctype writer(byte me)
{
    byte g, e;
    bool fenced;
end:
    do
    /* A token of any generation that was ever attached, and a look at the tombstones. */
    :: atomic {
        !upload[me] ->
        select(g : 1 .. GENERATIONS);
        if
        :: g > issued -> skip
        :: g <= issued ->
            is_fenced(g, fenced);
            if
#ifdef NO_TOMBSTONE_CHECK
            :: true -> upload[me] = g
#else
            :: fenced -> keep(P4_holds, g != attached) /* 410 */
            :: !fenced -> upload[me] = g
#endif
            fi
        fi;
        g = 0;
        fenced = false
       }
    :: atomic {
        upload[me] ->
        if
        :: store_file(upload[me])
        :: true /* it failed */
        fi;
        end_upload()
       }
    od
}

/* ---- Janitors ---- */

mtype = { IDLE, TOMBSTONE, INTENT, OFFSET, CLAIM, READ_AGAIN, SWEEP, REMOVE, DRAIN, VERIFY,
          REMOVE_FOUND, RENEW, PUBLISH, FORGET, DONE };

/* The order of the steps. */
#if defined(NO_TOMBSTONE_FIRST) || defined(SWEEP_BEFORE_TOMBSTONE)
#define NOTES_OLD_UPLOADS_EARLY
#endif
#if defined(NO_TOMBSTONE_FIRST) /* intent, tombstone, offset, ... */
#define FIRST_STEP INTENT
#define AFTER_INTENT TOMBSTONE
#define AFTER_TOMBSTONE OFFSET
#define AFTER_OFFSET CLAIM
#elif defined(OFFSET_BEFORE_INTENT) /* tombstone, offset, intent, ... */
#define FIRST_STEP TOMBSTONE
#define AFTER_TOMBSTONE OFFSET
#define AFTER_OFFSET INTENT
#define AFTER_INTENT CLAIM
#elif defined(SWEEP_BEFORE_TOMBSTONE) /* sweep, drain, verify, tombstone, intent, offset, publish, ... */
#define FIRST_STEP SWEEP
#define AFTER_VERIFY TOMBSTONE
#define AFTER_TOMBSTONE INTENT
#define AFTER_INTENT OFFSET
#define AFTER_OFFSET PUBLISH
#else
#define FIRST_STEP TOMBSTONE
#define AFTER_TOMBSTONE INTENT
#define AFTER_INTENT OFFSET
#define AFTER_OFFSET CLAIM
#endif
#if defined(FORGET_BEFORE_PUBLISH)
#define AFTER_VERIFY FORGET
#define AFTER_FORGET PUBLISH
#define AFTER_PUBLISH DONE
#else
#ifndef AFTER_VERIFY
#define AFTER_VERIFY PUBLISH
#endif
#define AFTER_PUBLISH FORGET
#define AFTER_FORGET DONE
#endif

/* Kafka gives a message to one consumer; to a second one when it takes the first for dead. */
#ifdef FAULT_FREE
#define CRASHES 0
#define is_given(e) (sent[e] && !offset_done[e] && at[1] != e && at[2] != e)
#else
#define is_given(e) (sent[e] && !offset_done[e])
#endif
#if defined(LIVE) && !defined(CRASHES)
#define CRASHES 1
#endif
#ifdef CRASHES /* bounded, where it must come to an end */
byte crashes = CRASHES;
#define may_crash crashes
#define count_crash() crashes--
#else
#define may_crash true
#define count_crash() skip
#endif

/* The moment from which the drain counts: uploads that are under way now are old. Only the first
 * tombstone of a generation sets it: the shortest drain that the protocol allows. */
inline write_tombstone()
{
    if
#ifdef NO_TOMBSTONE
    :: true -> note_old_uploads()
#else
    :: !tombstone[e] -> tombstone[e] = true; note_old_uploads()
    :: tombstone[e] -> skip
#endif
    fi
}

inline note_old_uploads()
{
    i = 0;
    do
    :: i < WRITERS ->
        if
        :: upload[i] && upload[i] <= e -> old_uploads[e] = old_uploads[e] | (1 << i)
        :: else -> skip
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

/* What a listing of the generations <= e finds. */
inline list_files()
{
    g = 1;
    do
    :: g <= e && g <= GENERATIONS ->
        if
        :: is_there(g) -> listed = listed | (1 << g)
        :: else -> skip
        fi;
        g++
    :: else -> break
    od;
    g = 0
}

inline remove_listed()
{
#ifdef NO_GEN_IN_KEY
#ifndef FORGIVE_P2
    keep(P2_holds, file <= e);
#endif
    file = 0;
#else
    g = 1;
    do
    :: g <= GENERATIONS ->
        if
        :: listed & (1 << g) -> keep(P2_holds, g <= e); file[g] = false
        :: else -> skip
        fi;
        g++
    :: else -> break
    od;
    g = 0;
#endif
    listed = 0
}

inline publish()
{
    g = 1;
    do
    :: g <= e && g <= GENERATIONS -> keep(P1_holds, !is_there(g)); g++
    :: else -> break
    od;
    g = 0;
#ifdef FAULT_FREE
    keep(once_holds, !completed[e]);
#endif
    completed[e] = true
}

inline release()
{
    if
    :: lease[e] == me -> lease[e] = 0
    :: else -> skip
    fi
}

/* The janitor knows nothing of the job any more: then what is durable must be enough. */
inline become_idle()
{
    at[me] = 0;
    if
    :: offset_done[e] && at[1] != e && at[2] != e ->
        keep(P5_holds, (intent[e] || completed[e]))
    :: else -> skip
    fi;
    e = 0;
    listed = 0;
    step = IDLE
}

proctype janitor(byte me)
{
    byte e, g, i, listed;
    mtype step = IDLE;
end:
    do
    :: atomic {
        step == IDLE ->
        select(e : 1 .. EVENTS);
        if
        /* A message: the first time, again since its offset was lost, or a repetition. */
        :: is_given(e) -> at[me] = e; step = FIRST_STEP
        :: offset_done[e] && repeats -> repeats--; at[me] = e; step = FIRST_STEP
#ifndef NO_SCANNER
        :: intent[e] -> at[me] = e; step = CLAIM
#endif
        :: else -> e = 0
        fi
       }
    :: atomic { step == TOMBSTONE -> write_tombstone(); step = AFTER_TOMBSTONE }
    :: atomic {
        step == INTENT ->
#ifdef NOTES_OLD_UPLOADS_EARLY
        note_old_uploads();
#endif
        intent[e] = true;
        step = AFTER_INTENT
       }
    :: atomic { step == OFFSET -> offset_done[e] = true; step = AFTER_OFFSET }
#ifdef NO_LEASE
    :: atomic { step == CLAIM -> step = READ_AGAIN }
#else
    :: atomic { step == CLAIM && (!lease[e] || lease[e] == me) -> lease[e] = me; step = READ_AGAIN }
#endif
#ifdef NO_REREAD_AFTER_LEASE
    :: atomic { step == READ_AGAIN -> step = SWEEP }
#else
    :: atomic { step == READ_AGAIN && intent[e] -> step = SWEEP }
    :: atomic { step == READ_AGAIN && !intent[e] -> release(); become_idle() }
#endif
#ifdef NO_SWEEP
    :: atomic { step == SWEEP -> step = DRAIN }
#else
    :: atomic {
        step == SWEEP ->
#ifdef SWEEP_BEFORE_TOMBSTONE
        note_old_uploads();
#endif
        list_files();
        step = REMOVE
       }
    :: atomic { step == REMOVE -> remove_listed(); step = DRAIN }
#endif
#ifdef NO_DRAIN
    :: atomic { step == DRAIN -> step = VERIFY }
#else
    :: atomic { step == DRAIN && !old_uploads[e] -> step = VERIFY }
#endif
#ifdef NO_VERIFY
    :: atomic { step == VERIFY -> step = RENEW }
#else
    :: atomic {
        step == VERIFY ->
        list_files();
        if
        :: listed -> step = REMOVE_FOUND
        :: !listed -> step = RENEW
        fi
       }
#ifdef NO_LISTING_AGAIN
    :: atomic { step == REMOVE_FOUND -> step = RENEW; listed = 0 }
#else
    :: atomic { step == REMOVE_FOUND -> remove_listed(); step = VERIFY }
#endif
#endif
    :: atomic {
        step == RENEW ->
        if
#if defined(NO_RENEW) || defined(NO_LEASE)
        :: true -> step = AFTER_VERIFY
#else
        :: lease[e] == me || !lease[e] -> lease[e] = me; step = AFTER_VERIFY
        :: lease[e] && lease[e] != me -> become_idle() /* fenced: another goes on */
#endif
        fi
       }
    :: atomic { step == PUBLISH -> publish(); step = AFTER_PUBLISH }
    :: atomic { step == FORGET -> intent[e] = false; step = AFTER_FORGET }
    :: atomic { step == DONE -> release(); become_idle() }
    :: atomic { step != IDLE && may_crash -> count_crash(); become_idle() }
    od
}

#ifndef FAULT_FREE
#ifdef LIVE
/* One FLUSHALL. Beyond it only the lease of one who is not at the job any more ends. */
byte losses = 1;
#define may_lose(e) (losses || at[lease[e]] != e)
#define count_loss(e) losses = (at[lease[e]] == e -> losses - 1 : losses)
#else
#define may_lose(e) true
#define count_loss(e) skip
#endif

/* FLUSHALL, an outage, a lease whose holder is frozen or dead. */
active proctype redis()
{
end:
    do
    :: atomic { lease[1] && may_lose(1) -> count_loss(1); lease[1] = 0 }
#if EVENTS > 1
    :: atomic { lease[2] && may_lose(2) -> count_loss(2); lease[2] = 0 }
#endif
    od
}
#endif

init {
    atomic {
        run writer(0);
#if WRITERS > 1
        run writer(1);
#endif
        run janitor(1);
        run janitor(2)
    }
}

#ifdef LIVE
ltl P5_ends { [] (sent[1] -> <> completed[1]) }
#endif
