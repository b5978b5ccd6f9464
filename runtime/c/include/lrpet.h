/* lrpet: runs low-rank f16 networks in place from flash or a memory map.

   A model file (safetensors) is opened in place: its bytes begin at a multiple of 4 and must stay as they are while a
   session is open. All memory is the caller's: lrpet_inspect says how much. Pointers must be NULL or valid for the sizes
   given with them; a session is used by one thread at a time, different sessions by any. Functions that can fail return
   a status and, where `message` is not NULL, write what is wrong and what to do there: UTF-8, cut to `message_bytes`,
   always ended by a zero.

   Build it for a microcontroller with `cargo build --profile embedded -p lrpet-c --no-default-features --target TARGET`:
   thumbv7em-none-eabihf for a Cortex-M4F, with `--features cortex-m7` for a Cortex-M7; thumbv8m.main-none-eabihf for a
   Cortex-M33, with `--features cortex-m55` for a Cortex-M55. A library for another core says so (LRPET_CORE). Link with
   -Wl,--gc-sections: without it, what no program needs of Rust's own library stays in the image, a few hundred kilobytes.

   What not every model needs is left out of a library for a microcontroller unless its features name it: `eights` for weights
   of 8 bits, `streams` for a schedule, `general`, `activations` and `many` for operations of version 2 of the format. A model
   that needs more is refused with their names (LRPET_MODEL). Weights of 8 bits are used where they lie in the file, as those
   of f16 are; nothing in this interface differs, nor does the arena. On a machine with an operating system the library has all
   of this, and a session keeps weights of its own besides its arena, in the order of the machine's instructions: those of 8
   bits as f16.

   This file is generated: LRPET_BLESS=1 cargo test -p lrpet-c --test header. */

#ifndef LRPET_H
#define LRPET_H

#include <stddef.h>
#include <stdint.h>

/*
 How a call ended.
 */
typedef enum {
    /*
     All is well.
     */
    LRPET_OK = 0,
    /*
     A pointer that must not be NULL is.
     */
    LRPET_NULL = 1,
    /*
     The bytes are no model that this library runs.
     */
    LRPET_MODEL = 2,
    /*
     The arena is too small or not aligned.
     */
    LRPET_ARENA = 3,
    /*
     The input has another length than the model takes, is bytes where it takes values, is not aligned, or has a value that is no
     finite number.
     */
    LRPET_INPUT = 4,
    /*
     There is room for another number of logits than the model has classes, or it is not aligned; or there is no such output.
     */
    LRPET_LOGITS = 5,
    /*
     The arena was overwritten from outside.
     */
    LRPET_CORRUPT = 6,
    /*
     The logits of the model's own samples differ from those in the file.
     */
    LRPET_CHECK = 7,
    /*
     The processor is not one for which this library was built, or its floating-point unit is off.
     */
    LRPET_CORE = 8,
} lrpet_status;

/*
 A model ready to run. It lies in its arena.
 */
typedef struct lrpet_session lrpet_session;

/*
 What a model needs and gives.
 */
typedef struct {
    /*
     Input: channels.
     */
    uint32_t channels;
    /*
     Input: rows.
     */
    uint32_t height;
    /*
     Input: columns.
     */
    uint32_t width;
    /*
     Number of logits, or of values of the result.
     */
    uint32_t classes;
    /*
     Number of layers.
     */
    uint32_t layers;
    /*
     Samples with their logits in the file, for lrpet_check.
     */
    uint32_t samples;
    /*
     Bytes of an arena, the session included.
     */
    size_t arena_bytes;
    /*
     Input: 1 where the model takes values as they are (lrpet_run_values alone), 0 where it takes pictures.
     */
    uint32_t takes_values;
    /*
     Result: 1 where it is values as they are, 0 where it is one logit for each class.
     */
    uint32_t gives_values;
    /*
     Result: channels. Values lie channel by channel, row by row.
     */
    uint32_t result_channels;
    /*
     Result: rows.
     */
    uint32_t result_height;
    /*
     Result: columns.
     */
    uint32_t result_width;
    /*
     Number of outputs. Of several the result is a vector of all their values, one output after another: see lrpet_output.
     */
    uint32_t outputs;
} lrpet_info;

/*
 One output of a model: where its values lie in the result, and its shape.
 */
typedef struct {
    /*
     Index of its first value in the result.
     */
    size_t first;
    /*
     Number of its values, channel by channel, row by row.
     */
    size_t count;
    /*
     Channels.
     */
    uint32_t channels;
    /*
     Rows.
     */
    uint32_t height;
    /*
     Columns.
     */
    uint32_t width;
} lrpet_part;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Checks a model file and says what it needs. `model` has `model_bytes` bytes and begins at a multiple of 4, `info` may be
 NULL.
 */
lrpet_status lrpet_inspect(const uint8_t *model,
                           size_t model_bytes,
                           lrpet_info *info,
                           char *message,
                           size_t message_bytes);

/*
 Opens a model in `arena`, which has `arena_bytes` bytes (those that lrpet_inspect states, or more) and begins at a
 multiple of 16. `*session` is valid until lrpet_close, as long as model and arena stay where they are and nobody else
 writes to them; NULL where the model cannot be opened.
 */
lrpet_status lrpet_open(const uint8_t *model,
                        size_t model_bytes,
                        uint8_t *arena,
                        size_t arena_bytes,
                        lrpet_session **session,
                        char *message,
                        size_t message_bytes);

/*
 Says where output `index` of an open model lies in the result of an inference; the first is 0, and a model with one has that alone.
 */
lrpet_status lrpet_output(const lrpet_session *session,
                          size_t index,
                          lrpet_part *part,
                          char *message,
                          size_t message_bytes);

/*
 Has `feed` (or nothing, where it is NULL) called after each layer with the layer's index and `context`: the place to feed
 a watchdog.
 */
void lrpet_watch(lrpet_session *session,
                 void (*feed)(size_t layer, void *context),
                 void *context);

/*
 One inference on an image of `image_bytes` = height * width * channels bytes, row by row, channels interleaved, which is
 normalised as the model's card says. `logits` has one float for each of the `classes`.
 */
lrpet_status lrpet_run_image(lrpet_session *session,
                             const uint8_t *image,
                             size_t image_bytes,
                             float *logits,
                             size_t classes,
                             char *message,
                             size_t message_bytes);

/*
 Takes the next rows of an image as a camera gives them, one or more: `rows_bytes` bytes, row by row, channels interleaved; their
 number is a multiple of lrpet_rows_together, or what is left. Where the model's schedule begins with a stream the image is nowhere
 whole. `done` becomes 1 when these were the last and the logits are there, which are those of lrpet_run_image, and 0 before; it may be
 NULL. Other rows than those are LRPET_INPUT and change nothing; lrpet_restart gives up the image, as any whole one does.
 */
lrpet_status lrpet_push_rows(lrpet_session *session,
                             const uint8_t *rows,
                             size_t rows_bytes,
                             float *logits,
                             size_t classes,
                             uint32_t *done,
                             char *message,
                             size_t message_bytes);

/*
 Gives up an image of which rows were pushed: the next ones are the first of another. NULL is allowed.
 */
void lrpet_restart(lrpet_session *session);

/*
 Rows that lrpet_push_rows takes at a time: any multiple, and at the end what is left. 0 where `session` is NULL.
 */
size_t lrpet_rows_together(const lrpet_session *session);

/*
 As lrpet_run_image on `count` = channels * height * width values, channel by channel: those of a picture normalised already, or
 whatever a model of values takes.
 */
lrpet_status lrpet_run_values(lrpet_session *session,
                              const float *values,
                              size_t count,
                              float *logits,
                              size_t classes,
                              char *message,
                              size_t message_bytes);

/*
 Runs the samples that the model file carries and compares with the logits that it states, one by one: a logit that is off by
 more than roundings explain is LRPET_CHECK. `logits` is room for one float a class.
 */
lrpet_status lrpet_check(lrpet_session *session,
                         float *logits,
                         size_t classes,
                         char *message,
                         size_t message_bytes);

/*
 Ends a session; its arena is free again. NULL is allowed.
 */
void lrpet_close(lrpet_session *session);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LRPET_H */
