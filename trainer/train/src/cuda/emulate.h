/* Runs a kernel on the CPU: every thread of every block, one after another. Threads of a block that wait for each
 * other at a barrier are coroutines, resumed in turn. For tests of the kernels' arithmetic where there is no GPU. */

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <ucontext.h>

struct Dimension { unsigned x, y; };

static _Thread_local struct Dimension gridDim, blockDim, blockIdx, threadIdx;

#define DEVICE static inline
#define SHARED static _Thread_local
#define STACK (64 * 1024)

typedef void (*Body)(const void *);

/* A thread of the blocks: it runs the kernel once a block. */
struct Thread { jmp_buf at; ucontext_t first; Body body; const void *parameters; char *stack; int started, over; };

static _Thread_local struct Thread *running;
static _Thread_local jmp_buf scheduler;
static _Thread_local ucontext_t start;

/* Back to the scheduler; returns when this thread's turn comes again. (setjmp rather than swapcontext, which asks the
 * system to keep signal masks each time.) */
static void pause_thread(void) {
    struct Thread *self = running;
    if (!_setjmp(self->at)) _longjmp(scheduler, 1);
}

static void __attribute__((unused)) __syncthreads(void) { pause_thread(); }

static void live(void) {
    struct Thread *self = running; /* makecontext passes ints alone */
    for (;;) {
        self->body(self->parameters);
        self->over = 1;
        pause_thread();
    }
}

static void resume(struct Thread *thread) {
    running = thread;
    if (_setjmp(scheduler)) return;
    if (thread->started) _longjmp(thread->at, 1);
    thread->started = 1;
    swapcontext(&start, &thread->first);
}

static void run_block(struct Thread *threads) {
    for (unsigned i = 0; i < blockDim.x; ++i) threads[i].over = 0;
    for (unsigned over = 0; over < blockDim.x;) {
        over = 0;
        for (unsigned i = 0; i < blockDim.x; ++i) {
            threadIdx.x = i;
            if (!threads[i].over) resume(threads + i);
            over += (unsigned)threads[i].over;
        }
    }
}

static struct Thread *threads_of(unsigned count, Body body, const void *parameters) {
    struct Thread *threads = calloc(count, sizeof *threads);
    if (!threads) abort();
    for (unsigned i = 0; i < count; ++i) {
        struct Thread *thread = threads + i;
        thread->body = body, thread->parameters = parameters, thread->stack = malloc(STACK);
        if (!thread->stack || getcontext(&thread->first)) abort();
        thread->first.uc_stack.ss_sp = thread->stack;
        thread->first.uc_stack.ss_size = STACK;
        makecontext(&thread->first, live, 0);
    }
    return threads;
}

/* shape: blocks along x and y, threads a block. */
static void emulate(Body body, const unsigned *shape, const void *parameters, int barriers) {
    struct Thread *threads = barriers ? threads_of(shape[2], body, parameters) : NULL;
    gridDim = (struct Dimension){shape[0], shape[1]};
    blockDim = (struct Dimension){shape[2], 1};
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
            if (barriers) run_block(threads);
            else for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) body(parameters);
        }
    for (unsigned i = 0; threads && i < shape[2]; ++i) free(threads[i].stack);
    free(threads);
}

#define EMULATED(name, type, barriers) \
    const unsigned size_##name = sizeof(struct type); \
    static void name##_body(const struct type p); \
    static void name##_thread(const void *p) { name##_body(*(const struct type *)p); } \
    void kernel_##name(const unsigned *shape, const void *p) { emulate(name##_thread, shape, p, barriers); } \
    static void name##_body(const struct type p)
#define KERNEL(name, type) EMULATED(name, type, 0)
#define BLOCK_KERNEL(name, type) EMULATED(name, type, 1)
