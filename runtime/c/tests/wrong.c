/* wrong MODEL MAP: gives the library what it must refuse; prints what is not as it should be. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lrpet.h"

static int failures;
static char message[256];

/* The status is `expected`, and the message says `words`. */
static void check(int line, lrpet_status expected, lrpet_status found, const char *words)
{
    if (found != expected || strstr(message, words) == NULL) {
        printf("line %d: status %d and not %d, `%s` and not `%s`\n", line, (int)found, (int)expected, message, words);
        failures++;
    }
}

#define CHECK(expected, words, call) check(__LINE__, expected, call, words)
#define MESSAGE message, sizeof message

/* The bytes of the file at `path`, with room for 4 more. */
static uint8_t *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        exit(2);
    }
    *bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *read = malloc(*bytes + 4);
    if (read == NULL || fread(read, 1, *bytes, file) != *bytes) {
        exit(2);
    }
    fclose(file);
    return read;
}

/* A model that makes a map of 2 * 3 * 2 values of as many says so, takes no bytes, and doubles what it takes. */
static void map_of_values(const char *path)
{
    size_t bytes;
    uint8_t *model = read_file(path, &bytes);
    lrpet_info info;
    CHECK(LRPET_OK, "", lrpet_inspect(model, bytes, &info, MESSAGE));
    if (info.takes_values != 1 || info.gives_values != 1 || info.result_channels != 2 || info.result_height != 3 ||
        info.result_width != 2 || info.classes != 12 || info.outputs != 1 || info.samples != 3) {
        printf("a model of values does not say what it takes and gives\n");
        failures++;
        return;
    }
    uint8_t *arena = aligned_alloc(16, (info.arena_bytes + 15) / 16 * 16);
    float values[12], result[12];
    lrpet_session *session;
    CHECK(LRPET_OK, "", lrpet_open(model, bytes, arena, info.arena_bytes, &session, MESSAGE));
    for (int i = 0; i < 12; i++) {
        values[i] = (float)(i - 4);
    }
    CHECK(LRPET_INPUT, "takes values", lrpet_run_image(session, (const uint8_t *)values, 12, result, 12, MESSAGE));
    CHECK(LRPET_OK, "", lrpet_run_values(session, values, 12, result, 12, MESSAGE));
    for (int i = 0; i < 12; i++) {
        if (result[i] != 2 * values[i]) {
            printf("value %d is %f\n", i, (double)result[i]);
            failures++;
        }
    }
    /* Its samples are values. */
    CHECK(LRPET_OK, "", lrpet_check(session, result, 12, MESSAGE));
    lrpet_part part;
    CHECK(LRPET_OK, "", lrpet_output(session, 0, &part, MESSAGE));
    if (part.first != 0 || part.count != 12 || part.channels != 2 || part.height != 3 || part.width != 2) {
        printf("the only output is not the result\n");
        failures++;
    }
    CHECK(LRPET_LOGITS, "has 1 outputs", lrpet_output(session, 1, &part, MESSAGE));
    CHECK(LRPET_NULL, "part is NULL", lrpet_output(session, 0, NULL, MESSAGE));
    CHECK(LRPET_NULL, "session or part", lrpet_output(NULL, 0, &part, MESSAGE));
    lrpet_close(session);
    free(arena);
    free(model);
}

/* Twice the input, and the input itself. */
static void two_outputs(const char *path)
{
    size_t bytes;
    uint8_t *model = read_file(path, &bytes);
    lrpet_info info;
    CHECK(LRPET_OK, "", lrpet_inspect(model, bytes, &info, MESSAGE));
    if (info.outputs != 2 || info.classes != 24 || info.result_channels != 24 || info.gives_values != 1) {
        printf("a model of two outputs does not say so\n");
        failures++;
        return;
    }
    uint8_t *arena = aligned_alloc(16, (info.arena_bytes + 15) / 16 * 16);
    float values[12], result[24];
    lrpet_session *session;
    CHECK(LRPET_OK, "", lrpet_open(model, bytes, arena, info.arena_bytes, &session, MESSAGE));
    for (int i = 0; i < 12; i++) {
        values[i] = (float)(i - 4);
    }
    CHECK(LRPET_OK, "", lrpet_run_values(session, values, 12, result, 24, MESSAGE));
    for (size_t output = 0; output < 2; output++) {
        lrpet_part part;
        CHECK(LRPET_OK, "", lrpet_output(session, output, &part, MESSAGE));
        for (size_t i = 0; i < part.count; i++) {
            if (part.count != 12 || part.height != 3 || result[part.first + i] != (output == 0 ? 2 : 1) * values[i]) {
                printf("value %zu of output %zu is wrong\n", i, output);
                failures++;
            }
        }
    }
    lrpet_close(session);
    free(arena);
    free(model);
}

int main(int count, char **arguments)
{
    if (count != 4) {
        return 2;
    }
    map_of_values(arguments[2]);
    two_outputs(arguments[3]);
    size_t bytes;
    uint8_t *model = read_file(arguments[1], &bytes);

    lrpet_info info;
    CHECK(LRPET_OK, "", lrpet_inspect(model, bytes, &info, MESSAGE));
    if (info.takes_values != 0 || info.gives_values != 0 || info.result_channels != info.classes ||
        info.result_height != 1 || info.result_width != 1) {
        printf("a model of pictures does not say what it takes and gives\n");
        failures++;
    }
    CHECK(LRPET_NULL, "model is NULL", lrpet_inspect(NULL, bytes, &info, MESSAGE));
    CHECK(LRPET_MODEL, "0 bytes", lrpet_inspect(model, 0, &info, MESSAGE));
    for (size_t shift = 1; shift < 4; shift++) {
        memmove(model + shift, model + shift - 1, bytes);
        CHECK(LRPET_MODEL, "multiple of 4", lrpet_inspect(model + shift, bytes, &info, MESSAGE));
    }
    memmove(model, model + 3, bytes);
    /* A message is cut to its room, and none is written where there is none. */
    memset(message, '#', sizeof message);
    if (lrpet_inspect(model, bytes - 1, NULL, message, 5) != LRPET_MODEL || strlen(message) != 4 || message[5] != '#' ||
        lrpet_inspect(model, bytes - 1, NULL, NULL, 5) != LRPET_MODEL ||
        lrpet_inspect(model, bytes - 1, NULL, message, 0) != LRPET_MODEL) {
        printf("a message is not cut as it should be\n");
        failures++;
    }

    size_t room = (info.arena_bytes + 15) / 16 * 16;
    uint8_t *arena = aligned_alloc(16, room + 16);
    float *logits = calloc(info.classes + 2, sizeof *logits);
    size_t image_bytes = (size_t)info.channels * info.height * info.width;
    float *values = calloc(image_bytes + 1, sizeof *values);
    const uint8_t *image = (const uint8_t *)values;
    if (arena == NULL || logits == NULL || values == NULL) {
        return 2;
    }
    lrpet_session *const nothing = (lrpet_session *)arena;
    lrpet_session *session = nothing;
    CHECK(LRPET_ARENA, "and must have", lrpet_open(model, bytes, arena, info.arena_bytes - 1, &session, MESSAGE));
    CHECK(LRPET_NULL, "session or logits is NULL", lrpet_check(session, logits, info.classes, MESSAGE));
    session = nothing;
    CHECK(LRPET_ARENA, "multiple of 16", lrpet_open(model, bytes, arena + 4, room, &session, MESSAGE));
    CHECK(LRPET_NULL, "session or logits is NULL", lrpet_check(session, logits, info.classes, MESSAGE));
    session = nothing;
    CHECK(LRPET_NULL, "arena", lrpet_open(model, bytes, NULL, room, &session, MESSAGE));
    CHECK(LRPET_NULL, "session, input", lrpet_run_image(session, image, image_bytes, logits, info.classes, MESSAGE));
    session = nothing;
    CHECK(LRPET_MODEL, "", lrpet_open(model, bytes - 1, arena, room, &session, MESSAGE));
    CHECK(LRPET_NULL, "session, input", lrpet_run_image(session, image, image_bytes, logits, info.classes, MESSAGE));
    lrpet_watch(session, NULL, NULL);
    lrpet_close(session);
    CHECK(LRPET_NULL, "session is NULL", lrpet_open(model, bytes, arena, room, NULL, MESSAGE));

    /* Opened, closed and opened anew in the same arena. */
    for (int i = 0; i < 3; i++) {
        CHECK(LRPET_OK, "", lrpet_open(model, bytes, arena, info.arena_bytes, &session, MESSAGE));
        CHECK(LRPET_OK, "", lrpet_check(session, logits, info.classes, MESSAGE));
        lrpet_close(session);
    }
    CHECK(LRPET_OK, "", lrpet_open(model, bytes, arena, info.arena_bytes, &session, MESSAGE));
    CHECK(LRPET_LOGITS, "logits", lrpet_check(session, logits, info.classes + 1, MESSAGE));
    CHECK(LRPET_LOGITS, "logits", lrpet_run_image(session, image, image_bytes, logits, 0, MESSAGE));
    CHECK(LRPET_INPUT, "values", lrpet_run_image(session, image, image_bytes - 1, logits, info.classes, MESSAGE));
    CHECK(LRPET_NULL, "input", lrpet_run_image(session, NULL, image_bytes, logits, info.classes, MESSAGE));
    CHECK(LRPET_NULL, "logits", lrpet_run_values(session, values, image_bytes, NULL, info.classes, MESSAGE));
    float *shifted = (float *)((char *)logits + 1);
    const float *behind = (const float *)((const char *)values + 2);
    CHECK(LRPET_LOGITS, "multiple of 4", lrpet_check(session, shifted, info.classes, MESSAGE));
    CHECK(LRPET_LOGITS, "multiple of 4", lrpet_run_image(session, image, image_bytes, shifted, info.classes, MESSAGE));
    CHECK(LRPET_INPUT, "multiple of 4", lrpet_run_values(session, behind, image_bytes, logits, info.classes, MESSAGE));
    CHECK(LRPET_OK, "", lrpet_run_values(session, values, image_bytes, logits, info.classes, MESSAGE));
    uint32_t nan = 0x7fc00000;
    memcpy(values, &nan, sizeof nan);
    CHECK(LRPET_INPUT, "value 0", lrpet_run_values(session, values, image_bytes, logits, info.classes, MESSAGE));
    /* In rows: the logits of the whole image, to the bit, and what is no rows of it changes nothing. */
    const size_t row = (size_t)info.channels * info.width, together = lrpet_rows_together(session);
    float *whole = malloc(info.classes * sizeof(float));
    uint32_t done = 7;
    if (!whole || together == 0 || lrpet_rows_together(NULL) != 0) {
        puts("no rows");
        return 2;
    }
    CHECK(LRPET_OK, "", lrpet_run_image(session, image, image_bytes, whole, info.classes, MESSAGE));
    /* An image that is given up leaves nothing behind. */
    CHECK(LRPET_OK, "", lrpet_push_rows(session, image, together * row, logits, info.classes, &done, MESSAGE));
    lrpet_restart(session);
    lrpet_restart(NULL);
    for (size_t at = 0; at < info.height; at += together) {
        size_t count = info.height - at < together ? info.height - at : together;
        CHECK(LRPET_INPUT, "row", lrpet_push_rows(session, image, row - 1, logits, info.classes, &done, MESSAGE));
        CHECK(LRPET_INPUT, "row", lrpet_push_rows(session, image, 0, logits, info.classes, NULL, MESSAGE));
        if (at > 0) {
            CHECK(LRPET_INPUT, "row", lrpet_push_rows(session, image, image_bytes, logits, info.classes, NULL, MESSAGE));
        }
        CHECK(LRPET_OK, "",
              lrpet_push_rows(session, image + at * row, count * row, logits, info.classes, &done, MESSAGE));
        if (done != (at + count == info.height)) {
            printf("done is %u at row %zu\n", (unsigned)done, at);
            failures++;
        }
    }
    if (memcmp(whole, logits, info.classes * sizeof(float)) != 0) {
        puts("the logits of rows are others");
        failures++;
    }
    CHECK(LRPET_NULL, "session, input", lrpet_push_rows(NULL, image, row, logits, info.classes, &done, MESSAGE));
    free(whole);
    /* None of that spoiled the session. */
    CHECK(LRPET_OK, "", lrpet_check(session, logits, info.classes, MESSAGE));
    lrpet_close(session);
    free(values);
    free(logits);
    free(arena);
    free(model);
    return failures != 0;
}
