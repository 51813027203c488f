/* The upload window: one upload that passed its look at the tombstones, one drain, and the store
 * between them, in time. Shown: nothing of the upload appears after the listing that counts (P1).
 *
 * Time goes in ticks. Only differences are kept, each up to the value from which on nothing changes,
 * so that runs of any length are covered. Whoever is not named in `tick` below may be frozen at any
 * step for any number of ticks: that is what an interleaving is. */
#define E 1 /* upload_expiry: the store refuses a head later than this after t0 */
#define T 2 /* upload_timeout: no byte of the body later than this after the put's start */
#define I 2 /* the store's idle time-out */
#define G 1 /* the longest time between two answers that still counts as no gap */
#define T_LONG 4 /* the same of a writer whose terms the janitor's window does not cover */

#ifndef W
#if defined(NO_DRAIN)
#define W 0
#elif defined(NO_IDLE_TERM)
#define W (E + T + 2 * G)
#elif defined(NO_GAP_TERM)
#define W (E + T + I)
#elif defined(WINDOW_TOO_SHORT)
#define W (E + T + I + 2 * G - 1)
#else
#define W (E + T + I + 2 * G)
#endif
#endif

#define step_up(x, max) x = (x < max -> x + 1 : max)

/* A promise that is broken stops the run, and is named by it. */
#define keep(promise, condition) promise = promise && (condition); assert(promise)

bool P1_holds = true;

/* The store, and what lies in its sockets of the upload. */
bool running = true;
bool head_in, chunk_in, last_in;
bool half_sent; /* it has taken the head, and waits for bytes */
bool tombstone;
bool terms_told;  /* the writer's terms stand in the store */
bool terms_long;  /* and are more than the janitor's window covers */
bool on_wire, last_on_wire; /* NETWORK_HOLDS_BYTES: sent, and not yet arrived */

/* Ticks since ... */
short since_t0;    /* the answer that told no tombstone; below zero: the clock was set back */
byte since_put;    /* the put's start */
byte since_byte;   /* the store processed a byte of the upload */
byte since_answer; /* the janitor saw the last answer */
byte since_quiet;  /* max(tombstone, the first answer of a series without a gap) */

bool completed; /* the listing that counts has been made */

/* ---- Time ---- */

/* A store that runs processes what lies in its sockets, and drops what is idle, before time goes
 * on. One that is stalled does neither. It does not stall again before it has caught up; but a stall
 * may begin at the very moment when a request becomes idle. */
#define are_empty (!head_in && !chunk_in && !last_in)
#define is_prompt (are_empty && !(half_sent && since_byte >= I))
#define may_stall (are_empty && !(half_sent && since_byte > I))

active proctype tick()
{
    do
    :: atomic {
        !running || is_prompt ->
        step_up(since_t0, E + 1);
        step_up(since_put, T_LONG + 1);
        step_up(since_byte, I + 1);
        step_up(since_answer, G + 1);
        step_up(since_quiet, W + 1)
       }
#ifdef CLOCK_LEAPS
    /* The store's clock is set forward, by more than a gap. No other clock is. */
    :: atomic { since_t0 = E + 1; since_answer = G + 1; since_quiet = W + 1 }
#endif
#ifdef CLOCK_SET_BACK
    :: atomic { !tombstone -> since_t0 = -3 }
#endif
    od
}

/* ---- The store ---- */

inline empty_sockets()
{
    head_in = false;
    chunk_in = false;
    last_in = false
}

inline drop_request()
{
    half_sent = false;
    since_byte = 0;
    empty_sockets()
}

active proctype the_store()
{
    do
    :: atomic { running && may_stall -> running = false }
    :: atomic { !running -> running = true }
    :: atomic {
        running && head_in ->
        head_in = false;
        if
#ifndef NO_EXPIRY
        :: since_t0 > E -> empty_sockets()
        :: since_t0 <= E ->
#else
        :: true ->
#endif
            half_sent = true;
            since_byte = 0
        fi
       }
    :: atomic {
        running && !head_in && half_sent && (chunk_in || last_in) ->
        if
        :: last_in ->
            keep(P1_holds, !completed); /* the file appears */
            drop_request()
        :: !last_in -> chunk_in = false; since_byte = 0
        fi
       }
    :: atomic { running && !head_in && !half_sent && (chunk_in || last_in) -> empty_sockets() }
#ifndef NO_IDLE_TIMEOUT
    /* Also with bytes in the socket, when it goes on after a stall: either may come first. */
    :: atomic { running && half_sent && since_byte >= I -> drop_request() }
#else
    :: atomic { running && half_sent && since_byte >= I -> since_byte = 0 }
#endif
    od
}

/* ---- The writer: one upload ---- */

/* The bytes of one send. */
inline send(is_last)
{
#ifdef NETWORK_HOLDS_BYTES
    on_wire = true;
    last_on_wire = is_last
#else
    if
    :: is_last -> last_in = true
    :: !is_last -> chunk_in = true
    fi
#endif
}

#define deadline (terms_long -> T_LONG : T)

active proctype writer()
{
#ifndef TERMS_TOLD_LATE
    atomic { running -> terms_told = true; if :: terms_long = false :: terms_long = true fi }
#else
    if :: terms_long = false :: terms_long = true fi;
#endif
    atomic {
        running -> /* the store's answer */
        if
#ifndef NO_TOMBSTONE_CHECK
        :: tombstone -> goto ended /* 410 */
        :: !tombstone ->
#else
        :: true ->
#endif
            since_t0 = 0
        fi
    }
#ifdef TERMS_TOLD_LATE
    atomic { running -> terms_told = true }
#endif
#ifdef DEADLINE_STARTS_LATE
    head_in = true;
    since_put = 0;
#else
    atomic { head_in = true; since_put = 0 }
#endif
    do
#ifndef NO_BODY_DEADLINE
    :: since_put < deadline -> /* the look at the clock; the send may come much later */
#else
    :: true ->
#endif
sending:
        if
        :: atomic { send(false) }
        :: atomic { send(true) } -> goto ended
        fi;
#ifdef ONE_LOOK_FOR_ALL
        goto sending
#endif
#ifndef NO_BODY_DEADLINE
    :: since_put >= deadline -> goto ended
#endif
    od;
ended:
    skip
}

#ifdef NETWORK_HOLDS_BYTES
/* Brings what was sent in as many pieces as it likes, whenever it likes. */
active proctype network()
{
    do
    :: atomic { on_wire -> chunk_in = true }
    :: atomic {
        on_wire ->
        on_wire = false;
        if
        :: last_on_wire -> last_in = true; last_on_wire = false
        :: !last_on_wire -> chunk_in = true
        fi
       }
    od
}
#endif

/* ---- The janitor: tombstone, terms, drain, the listing that counts ---- */

/* An answer of the store: a probe's or a listing's. A gap before it begins the drain anew. */
inline see_answer()
{
#ifndef NO_STALL_RESTART
    if
    :: since_answer > G -> since_quiet = 0
    :: since_answer <= G -> skip
    fi;
#endif
    since_answer = 0
}

#ifdef PART_OF_STORE_STALLS
#define answers true /* where the janitor asks, while the upload's connection stands still */
#else
#define answers running
#endif

active proctype janitor()
{
    bool too_short;
#ifdef TERMS_READ_EARLY
    atomic { answers -> too_short = terms_told && terms_long };
#endif
    atomic { answers -> tombstone = true; since_quiet = 0; since_answer = 0 };
#if !defined(TERMS_READ_EARLY) && !defined(NO_TERMS_CHECK)
    atomic { answers -> too_short = terms_told && terms_long; see_answer() };
#endif
    do
    :: atomic { answers -> see_answer() } /* a probe */
    :: atomic {
        answers && !too_short -> /* a listing */
#ifndef NO_GAP_LOOK_AT_LISTING
        see_answer();
#endif
        if
        :: since_quiet >= W -> completed = true; break
        :: since_quiet < W -> skip
        fi
       }
    od
}
