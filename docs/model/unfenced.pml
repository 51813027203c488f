/* The deletion of an endpoint without a generation: one file under one key, which uploads replace at
 * will and no tombstone keeps away; two janitors, and events that ask for the same job.
 *
 * Shown: P6, what was stored after a deletion's acceptance is never removed by it; P1 as far as it
 * goes here, that nothing older than the acceptance is there when it counts as completed; P5, that
 * no accepted event is lost. Time is the store's clock in whole seconds, as its answers and its
 * LastModified tell it. There is no lease: a lease may be lost at any time, so nothing may rest on it.
 *
 * Three things do not follow from the protocol and are assumed. Each can be taken away:
 *   FREEZE_AT_DELETE  time may pass between the listing of a file and its removal by key
 *   FREEZE_AT_FORGET  a holder that is frozen after CLOSING may be taken for dead, and wake up
 *   SAME_SECOND       what is stored in the second of the acceptance, but after it, counts as after
 * and each has a remedy, with which it need not be assumed:
 *   DELETE_IF_UNMODIFIED  a removal names the LastModified that was listed
 *   FORGET_IF_MATCH       the intent is removed only if it is what the holder wrote
 *   NEXT_SECOND           the cut-off is the next second, and the intent is written when it has come */
#ifndef SECONDS
#define SECONDS 2
#endif
#ifndef EVENTS
#define EVENTS 2
#endif
#ifndef ACCEPTANCES
#define ACCEPTANCES 2 /* an event is accepted once more when its offset was lost */
#endif
#define JANITORS 2

/* A promise that is broken stops the run, and is named by it. */
#define keep(promise, condition) promise = promise && (condition); assert(promise)

bool P1_holds = true, P5_holds = true, P6_holds = true;

mtype = { NONE, OPEN, CLOSING,
          IDLE, READ, WRITE_INTENT, OFFSET, FIRST_SWEEP, FIRST_REMOVE, READ_AGAIN, SWEEP, REMOVE,
          CLOSE, PUBLISH, FORGET, DONE };

/* ---- What is durable ---- */

byte now; /* the store's clock */

bool there;       /* the file, */
byte modified;    /* and its LastModified */

/* The intent. An acceptance's number stands for the event's id in it, so that two intents with the
 * same state and number are the same bytes and have the same ETag. */
mtype intent = NONE;
byte intent_number, intent_cutoff;

bool offset_done[EVENTS + 1];
byte completed; /* the latest acceptance for which a completion was published */

/* ---- To judge by ---- */

byte acceptances;
byte must_go;     /* of the file: the first acceptance that it was too old for; 0: none */
#ifdef SAME_SECOND
byte stored_after; /* how many acceptances there were before the file */
#endif
byte accepted_as[EVENTS + 1]; /* the acceptance that the event's offset rests on */
byte closer; /* the janitor that has set CLOSING and lives; 0: none */

active proctype clock()
{
end:
    do
    :: now < SECONDS -> now++
    od
}

#ifdef SAME_SECOND
#define count_acceptances() stored_after = acceptances
#else
#define count_acceptances() skip
#endif

inline forget_file()
{
    there = false;
    modified = 0;
    must_go = 0
}

active proctype writer()
{
#ifdef LASTMODIFIED_AT_BEGIN
    byte modified_at;
#else
#define modified_at now
#endif
end:
    do
#ifdef LASTMODIFIED_AT_BEGIN
    :: modified_at = now
#endif
    :: atomic { forget_file(); there = true; modified = modified_at; count_acceptances() }
    od
}

/* ---- Janitors ---- */

#ifdef LIVE
byte crashes = 1;
#define may_crash crashes
#define count_crash() crashes--
#else
#define may_crash true
#define count_crash() skip
#endif

#ifdef SAME_SECOND
#define is_after(number, cutoff) (stored_after >= number)
#else
#define is_after(number, cutoff) (modified > cutoff)
#endif

#ifdef NEXT_SECOND
#define cutoff_now (now + 1)
#define is_due(cutoff) (now >= cutoff)
#define is_in_first_sweep(cutoff) (modified < cutoff)
#else
#define cutoff_now now
#define is_due(cutoff) true
#define is_in_first_sweep(cutoff) (modified <= cutoff)
#endif
#ifdef UNFENCED_NO_CUTOFF
#define is_in_sweep(cutoff) true
#elif defined(LATER_SWEEPS_AS_FIRST)
#define is_in_sweep(cutoff) (modified <= cutoff)
#else
#define is_in_sweep(cutoff) (modified < cutoff)
#endif

inline remove_file()
{
    if
#ifdef DELETE_IF_UNMODIFIED
    :: there && modified == listed ->
#else
    :: there ->
#endif
        keep(P6_holds, !is_after(number, cutoff));
        forget_file()
    :: else -> skip
    fi
}

/* A listing; what it finds is removed in the step `removal`, or at once. */
inline look(is_in, removal, otherwise)
{
    if
    :: there && (is_in) ->
#ifdef FREEZE_AT_DELETE
        listed = modified;
        step = removal
#else
        listed = modified;
        remove_file();
        listed = 0;
        step = otherwise
#endif
    :: else -> step = otherwise
    fi
}

/* What is durable must be enough for each event whose offset is done. */
inline become_idle()
{
    event = 1;
    do
    :: event <= EVENTS ->
        keep(P5_holds, (accepted_as[event] <= completed ||
                        (intent != NONE && accepted_as[event] <= intent_number)));
        event++
    :: else -> break
    od;
    if
    :: closer == me -> closer = 0
    :: else -> skip
    fi;
    event = 0;
    number = 0;
    cutoff = 0;
    listed = 0;
    state = NONE;
    step = IDLE
}

/* What it takes for the state space to end: no more acceptances than these. */
#ifdef LIVE /* a message that waits for CLOSING to end keeps no janitor from the scanner */
#define is_given(e) (!offset_done[e] && acceptances < ACCEPTANCES && intent != CLOSING)
#else
#define is_given(e) (!offset_done[e] && acceptances < ACCEPTANCES)
#endif

#ifdef FREEZE_AT_FORGET
#define is_taken false
#else
#define is_taken (intent == CLOSING && closer && closer != me)
#endif

#if defined(OFFSET_BEFORE_INTENT)
#define FIRST_STEP OFFSET
#define AFTER_OFFSET READ
#define AFTER_INTENT FIRST_SWEEP
#else
#define FIRST_STEP READ
#define AFTER_INTENT OFFSET
#define AFTER_OFFSET FIRST_SWEEP
#endif

#if defined(FORGET_BEFORE_PUBLISH)
#define AFTER_CLOSE FORGET
#define AFTER_FORGET PUBLISH
#define AFTER_PUBLISH DONE
#else
#define AFTER_CLOSE PUBLISH
#define AFTER_PUBLISH FORGET
#define AFTER_FORGET DONE
#endif

proctype janitor(byte me)
{
    byte event, number, cutoff, listed;
    mtype state = NONE, step = IDLE;
end:
    do
    :: atomic {
        step == IDLE ->
        if
        :: is_given(1) -> event = 1; step = FIRST_STEP
#if EVENTS > 1
        :: is_given(2) -> event = 2; step = FIRST_STEP
#endif
#ifndef NO_SCANNER
        :: intent != NONE -> step = READ_AGAIN
#endif
        fi
       }
    /* Acceptance. */
    :: atomic {
        step == READ ->
        state = intent;
        number = intent_number;
        cutoff = cutoff_now;
        if
#ifndef ACCEPTS_WHILE_CLOSING
        :: state == CLOSING -> become_idle() /* it waits, and the message comes again */
        :: state != CLOSING -> step = WRITE_INTENT
#else
        :: true -> step = WRITE_INTENT
#endif
        fi
       }
    :: atomic {
        step == WRITE_INTENT && acceptances < ACCEPTANCES && is_due(cutoff) ->
        if
#ifdef NO_SWAP_AT_ACCEPT
        :: true ->
#else
        :: intent != state || intent_number != number -> step = READ
        :: intent == state && intent_number == number ->
#endif
            acceptances++;
            number = acceptances;
            if
            :: there && !must_go && modified < cutoff -> must_go = number
            :: else -> skip
            fi;
#ifdef CUTOFF_NOT_MERGED
            intent_cutoff = (intent == NONE -> cutoff : intent_cutoff);
#else
            intent_cutoff = (cutoff > intent_cutoff -> cutoff : intent_cutoff);
#endif
            intent = OPEN;
            intent_number = number;
            state = NONE;
            step = AFTER_INTENT
        fi
       }
    :: atomic { step == WRITE_INTENT && acceptances == ACCEPTANCES -> become_idle() }
    :: atomic {
        step == OFFSET ->
        offset_done[event] = true;
#ifdef OFFSET_BEFORE_INTENT
        accepted_as[event] = acceptances + 1;
#else
        accepted_as[event] = number;
#endif
        step = AFTER_OFFSET
       }
    :: atomic { step == FIRST_SWEEP -> look(is_in_first_sweep(cutoff), FIRST_REMOVE, READ_AGAIN) }
    :: atomic { step == FIRST_REMOVE -> remove_file(); listed = 0; step = READ_AGAIN }
    /* The job. */
    :: atomic {
        step == READ_AGAIN ->
        if
        :: intent == NONE || is_taken -> become_idle()
        :: else ->
            event = 0;
            state = intent;
            number = intent_number;
            cutoff = intent_cutoff;
            step = SWEEP
        fi
       }
    :: atomic { step == SWEEP -> look(is_in_sweep(cutoff), REMOVE, CLOSE) } /* and verify */
    :: atomic { step == REMOVE -> remove_file(); listed = 0; step = SWEEP }
#ifdef NO_CLOSING
    :: atomic { step == CLOSE -> step = AFTER_CLOSE }
#else
    :: atomic {
        step == CLOSE ->
        if
        :: intent == state && intent_number == number && !is_taken ->
            intent = CLOSING;
            closer = me;
            step = AFTER_CLOSE
        :: else -> step = READ_AGAIN
        fi
       }
#endif
    :: atomic {
        step == PUBLISH ->
        keep(P1_holds, !(there && must_go && must_go <= number));
        completed = (number > completed -> number : completed);
        step = AFTER_PUBLISH
       }
    :: atomic {
        step == FORGET ->
        if
#ifdef FORGET_IF_MATCH
        :: intent != CLOSING || intent_number != number -> skip
        :: intent == CLOSING && intent_number == number ->
#else
        :: true ->
#endif
            intent = NONE;
            intent_number = 0;
            intent_cutoff = 0
        fi;
        step = AFTER_FORGET
       }
    :: atomic { step == DONE -> become_idle() }
    :: atomic { step != IDLE && may_crash -> count_crash(); become_idle() }
    od
}

init {
    atomic {
        run janitor(1);
        run janitor(2)
    }
}

#ifdef LIVE
ltl P5_ends { [] (offset_done[1] -> <> (accepted_as[1] <= completed)) }
#endif
