/* classify MODEL [IMAGE]: runs the model's own samples, then an image of raw bytes (height * width * channels).

   cargo build --release -p lrpet-c
   cc -O2 -Wl,--gc-sections -I runtime/c/include runtime/c/examples/classify.c target/release/liblrpet.a -lm -lpthread \
       -ldl -o classify */

#include <stdio.h>
#include <stdlib.h>

#include "lrpet.h"

/* The bytes of a file, at a multiple of 4 as of more; NULL where it cannot be read. */
static uint8_t *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    long size;
    if (file == NULL) {
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        *bytes = (size_t)size;
        data = malloc(*bytes + 1);
        if (data != NULL && fread(data, 1, *bytes, file) != *bytes) {
            free(data);
            data = NULL;
        }
    }
    fclose(file);
    return data;
}

int main(int count, char **arguments)
{
    char message[256];
    size_t model_bytes, image_bytes;
    lrpet_info info;
    lrpet_session *session;
    if (count < 2) {
        fprintf(stderr, "usage: classify MODEL [IMAGE]\n");
        return 2;
    }
    uint8_t *model = read_file(arguments[1], &model_bytes);
    if (model == NULL) {
        fprintf(stderr, "%s: cannot be read\n", arguments[1]);
        return 1;
    }
    if (lrpet_inspect(model, model_bytes, &info, message, sizeof message) != LRPET_OK) {
        fprintf(stderr, "%s: %s\n", arguments[1], message);
        return 1;
    }
    uint8_t *arena = aligned_alloc(16, (info.arena_bytes + 15) / 16 * 16);
    float *logits = malloc(info.classes * sizeof *logits);
    if (arena == NULL || logits == NULL) {
        fprintf(stderr, "no memory\n");
        return 1;
    }
    if (lrpet_open(model, model_bytes, arena, info.arena_bytes, &session, message, sizeof message) != LRPET_OK ||
        lrpet_check(session, logits, info.classes, message, sizeof message) != LRPET_OK) {
        fprintf(stderr, "%s: %s\n", arguments[1], message);
        return 1;
    }
    printf("%u samples agree, arena %zu bytes\n", (unsigned)info.samples, info.arena_bytes);
    if (count > 2) {
        uint8_t *image = read_file(arguments[2], &image_bytes);
        if (image == NULL) {
            fprintf(stderr, "%s: cannot be read\n", arguments[2]);
            return 1;
        }
        if (lrpet_run_image(session, image, image_bytes, logits, info.classes, message, sizeof message) != LRPET_OK) {
            fprintf(stderr, "%s: %s\n", arguments[2], message);
            return 1;
        }
        for (uint32_t i = 0; i < info.classes; i++) {
            printf("%u %f\n", (unsigned)i, logits[i]);
        }
        free(image);
    }
    lrpet_close(session);
    free(logits);
    free(arena);
    free(model);
    return 0;
}
