/* The self-check of a linked model on QEMU's mps2-an386 (Cortex-M4F), from C, without a C library.

   cargo build --profile embedded -p lrpet-c --no-default-features --target thumbv7em-none-eabihf
   arm-none-eabi-gcc -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16 -O2 -nostdlib -Wl,--gc-sections,-z,noexecstack \
       -I runtime/c/include -DMODEL='"model.safetensors"' -T runtime/c/examples/mps2-an386/board.ld \
       runtime/c/examples/mps2-an386/main.c target/thumbv7em-none-eabihf/embedded/liblrpet.a -o check.elf
   qemu-system-arm -machine mps2-an386 -nographic -semihosting-config enable=on,target=native -kernel check.elf */

#include "lrpet.h"

#ifndef ARENA_BYTES
#define ARENA_BYTES (256 * 1024)
#endif
#define MAX_CLASSES 1000

/* The model in flash, at a multiple of 4; the arena below is what must lie at a multiple of 16. */
__asm__(".section .rodata.model, \"a\"\n"
        ".balign 4\n"
        ".global model\n"
        "model: .incbin \"" MODEL "\"\n"
        ".global model_end\n"
        "model_end:\n"
        ".previous\n");
extern const uint8_t model[], model_end[];

static uint8_t arena[ARENA_BYTES] __attribute__((aligned(16)));
static float logits[MAX_CLASSES];
static char message[256];
static size_t layers_seen;

/* A semihosting call. */
static intptr_t host(intptr_t operation, const void *argument)
{
    register intptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void print(const char *text)
{
    host(0x04 /* SYS_WRITE0 */, text);
}

static void end(int failed)
{
    /* ADP_Stopped_ApplicationExit, ADP_Stopped_RunTimeErrorUnknown */
    host(0x18 /* SYS_EXIT */, (const void *)(intptr_t)(failed ? 0x20023 : 0x20026));
    for (;;) {
    }
}

static void layer_done(size_t layer, void *context)
{
    (void)layer;
    ++*(size_t *)context;
}

static void run(void)
{
    lrpet_info info;
    lrpet_session *session;
    size_t bytes = (size_t)(model_end - model);
    lrpet_status status = lrpet_inspect(model, bytes, &info, message, sizeof message);
    if (status == LRPET_OK) {
        status = lrpet_open(model, bytes, arena, sizeof arena, &session, message, sizeof message);
    }
    if (status == LRPET_OK) {
        lrpet_watch(session, layer_done, &layers_seen);
        status = lrpet_check(session, logits, info.classes, message, sizeof message);
        lrpet_close(session);
    }
    if (status != LRPET_OK) {
        print(message);
        print("\n");
        end(1);
    }
    print(layers_seen == (size_t)info.layers * info.samples ? "every sample agrees\n" : "the watch missed layers\n");
    end(layers_seen != (size_t)info.layers * info.samples);
}

/* Everything begins here: the FPU on, static data in place. */
extern uint32_t stack_top[], data_from[], data_start[], data_end[], bss_start[], bss_end[];

void reset(void)
{
    volatile uint32_t *cpacr = (volatile uint32_t *)0xe000ed88;
    *cpacr |= 0xfu << 20;
    __asm__ volatile("dsb\n isb");
    for (uint32_t *from = data_from, *to = data_start; to < data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end;) {
        *to++ = 0;
    }
    run();
}

static void fault(void)
{
    print("fault\n");
    end(1);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (const void *)reset, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault,
};
