/* host/random.h: random numbers that are the same on every machine. Internal.
 *
 * SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): a counter and a mixing function. */
#ifndef LM_RANDOM_H
#define LM_RANDOM_H

#include <stdint.h>

typedef struct lm_random {
    uint64_t counter;
} lm_random;

/* A stream for a seed and a name: streams of different names are independent of each other and of the order of use. */
static inline lm_random lm_random_stream(uint64_t seed, const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *name != '\0'; name++) hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return (lm_random){seed * UINT64_C(0xd1342543de82ef95) + hash};
}

static inline uint64_t lm_random_next(lm_random *random)
{
    uint64_t z = random->counter += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform in [0, 1), 53 bits. */
static inline double lm_random_uniform(lm_random *random) { return (double)(lm_random_next(random) >> 11) * 0x1p-53; }

#endif
