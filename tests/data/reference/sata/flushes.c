/* Reads of a layer's input map from memory, word by word: every address of the systolic array in turn, and a
   buffer that is emptied the moment it is full. Same padding, stride 1, square kernel of 3.
   cc -O2 flushes.c -o flushes && ./flushes HEIGHT WIDTH CHANNELS ROWS COLUMNS CAPACITY PASSES DATAFLOW */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long height, width, channels, capacity, held, misses;
static uint32_t *seen, age = 1;

static void demand(long pixel, long tap) {
    long place = tap / channels, y = pixel / width + place / 3 - 1, x = pixel % width + place % 3 - 1;
    if (y < 0 || y >= height || x < 0 || x >= width) return;
    uint32_t *word = seen + (y * width + x) * channels + tap % channels;
    if (*word == age) return;
    *word = age;
    misses++;
    if (++held == capacity) held = 0, age++;
}

static long least(long a, long b) { return a < b ? a : b; }

int main(int count, char **given) {
    if (count != 9) return 2;
    height = atol(given[1]), width = atol(given[2]), channels = atol(given[3]), capacity = atol(given[6]);
    long rows = atol(given[4]), columns = atol(given[5]), passes = atol(given[7]);
    long pixels = height * width, taps = 9 * channels;
    seen = calloc(pixels * channels, sizeof *seen);
    for (long pass = 0; pass < passes; pass++) {
        if (!strcmp(given[8], "is")) {
            for (long first = 0; first < pixels; first += columns)
                for (long start = 0; start < taps; start += rows)
                    for (long tap = least(start + rows, taps) - 1; tap >= start; tap--)
                        for (long pixel = first; pixel < least(first + columns, pixels); pixel++)
                            demand(pixel, tap);
            continue;
        }
        int os = !strcmp(given[8], "os");
        long lanes = os ? pixels : taps, times = os ? taps : pixels;
        for (long first = 0; first < lanes; first += rows)
            for (long cycle = 0; cycle < times + rows - 1; cycle++)
                for (long lane = 0; lane < least(rows, lanes - first); lane++) {
                    long time = cycle - lane;
                    if (time < 0 || time >= times) continue;
                    os ? demand(first + lane, time) : demand(time, first + lane);
                }
    }
    printf("%ld\n", misses);
    return 0;
}
