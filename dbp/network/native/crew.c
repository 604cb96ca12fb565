/* A crew: threads that carry out tasks beside the thread that asks, which carries out the first.
 *
 * Waking a thread that sleeps takes as long as a small network's gradient over a thousand rows. So whoever waits looks for a while
 * before it sleeps, and gives its processor to anybody else who wants it meanwhile. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
#define LOOKING_NS 1000000 /* for so long, before it sleeps */
#define LOOKS 64           /* between two glances at the clock */

/* Take the parameters, then the sums of a tree: `pack` and `sums_of_tree` of kernel.c, for one network. */
typedef struct {
    void (*pack)(void *net, const void *theta);
    void (*sums_of_tree)(void *net, int64_t count, const void *leaves, int64_t parameters, void **gradient, void *found);
    void *net;
    const void *theta;
    int64_t count;
    const void *leaves;
    int64_t parameters;
    void **gradient;
    void *found;
} task;

typedef struct crew crew;

typedef struct {
    crew *crew;
    int64_t number; /* of the task that is this thread's; 0 is the caller's */
    pthread_t thread;
} member;

struct crew {
    int64_t members;
    const task *tasks;
    int64_t count;
    atomic_long round; /* counts the calls */
    atomic_long busy;  /* members that have not finished this round */
    atomic_int ended;
    pthread_mutex_t lock;
    pthread_cond_t begun, done;
    member *member;
};

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void pause_(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Look until *value is no longer (`other`: is) `known`, for LOOKING_NS at most; whether it was seen. */
static int seen(atomic_long *value, long known, int other) {
    int64_t until = 0;
    for (;;) {
        for (int look = 0; look < LOOKS; look++) {
            if ((atomic_load_explicit(value, memory_order_acquire) != known) == other) return 1;
            pause_();
        }
        int64_t now = nanoseconds();
        if (!until) until = now + LOOKING_NS;
        if (now >= until) return 0;
        sched_yield();
    }
}

EXPORT void dbp_carry_out(const task *at) {
    at->pack(at->net, at->theta);
    at->sums_of_tree(at->net, at->count, at->leaves, at->parameters, at->gradient, at->found);
}

static void *serve(void *argument) {
    member *self = argument;
    crew *at = self->crew;
    for (long round = 0;; round++) {
        if (!seen(&at->round, round, 1)) {
            pthread_mutex_lock(&at->lock);
            while (atomic_load(&at->round) == round) pthread_cond_wait(&at->begun, &at->lock);
            pthread_mutex_unlock(&at->lock);
        }
        if (atomic_load(&at->ended)) return NULL;
        if (self->number < at->count) dbp_carry_out(&at->tasks[self->number]);
        if (atomic_fetch_sub(&at->busy, 1) == 1) {
            pthread_mutex_lock(&at->lock);
            pthread_cond_signal(&at->done);
            pthread_mutex_unlock(&at->lock);
        }
    }
}

static void begin(crew *at) {
    pthread_mutex_lock(&at->lock);
    atomic_fetch_add(&at->round, 1);
    pthread_cond_broadcast(&at->begun);
    pthread_mutex_unlock(&at->lock);
}

/* End the threads, none of which carries out a task, and give back the memory. */
EXPORT void dbp_crew_end(crew *at) {
    atomic_store(&at->ended, 1);
    begin(at);
    for (int64_t i = 0; i < at->members; i++) pthread_join(at->member[i].thread, NULL);
    pthread_cond_destroy(&at->begun);
    pthread_cond_destroy(&at->done);
    pthread_mutex_destroy(&at->lock);
    free(at->member);
    free(at);
}

/* A crew of so many threads beside the caller; NULL where there are not as many to be had. */
EXPORT crew *dbp_crew_begin(int64_t members) {
    crew *at = calloc(1, sizeof *at);
    member *all = calloc(members ? members : 1, sizeof *all);
    if (!at || !all) return free(at), free(all), NULL;
    at->member = all;
    pthread_mutex_init(&at->lock, NULL);
    pthread_cond_init(&at->begun, NULL);
    pthread_cond_init(&at->done, NULL);
    for (; at->members < members; at->members++) {
        member *next = &all[at->members];
        next->crew = at, next->number = at->members + 1;
        if (pthread_create(&next->thread, NULL, serve, next)) return dbp_crew_end(at), NULL;
    }
    return at;
}

/* Carry out `count` tasks at once, the first by the caller; members + 1 at most. Returns when all are done. */
EXPORT void dbp_crew_run(crew *at, int64_t count, const task *tasks) {
    at->tasks = tasks, at->count = count;
    atomic_store(&at->busy, at->members);
    if (count > 1) begin(at);
    if (count) dbp_carry_out(&tasks[0]);
    if (count < 2 || seen(&at->busy, 0, 0)) return;
    pthread_mutex_lock(&at->lock);
    while (atomic_load(&at->busy)) pthread_cond_wait(&at->done, &at->lock);
    pthread_mutex_unlock(&at->lock);
}

/* The size of a task, for the caller to compare with its own. */
EXPORT int64_t dbp_crew_layout(void) { return sizeof(task); }
