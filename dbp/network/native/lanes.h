/* Vectors of REAL and the one operation that needs the machine's own name: the fused multiply-add.
 *
 * Compiled once per precision and instruction set. Every result is one IEEE 754 operation per lane, in an order that does not
 * depend on how many lanes there are; so every instruction set gives the same bits. The compiler must not contract a*b+c by itself
 * (-ffp-contract=off) nor reorder sums (no -ffast-math).
 */
#ifndef DBP_LANES_H
#define DBP_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(DBP_AVX512)
#include <immintrin.h>
#define VECTOR_BYTES 64
#define MOST_VECTORS 4 /* in the columns of a tile */
#elif defined(DBP_AVX2)
#include <immintrin.h>
#define VECTOR_BYTES 32
#define MOST_VECTORS 2
#else
#define VECTOR_BYTES 16
#define MOST_VECTORS 2
#endif

#ifdef DBP_DOUBLE
typedef double real;
typedef int64_t whole;
#define R(x) x
#else
typedef float real;
typedef int32_t whole;
#define R(x) x##f
#endif

#define LANES ((int)(VECTOR_BYTES / sizeof(real)))
#ifdef DBP_DOUBLE
#define LANES_LOG (VECTOR_BYTES == 64 ? 3 : VECTOR_BYTES == 32 ? 2 : 1)
#else
#define LANES_LOG (VECTOR_BYTES == 64 ? 4 : VECTOR_BYTES == 32 ? 3 : 2)
#endif
#define PAD 16 /* rows of the kernel's own matrices are padded to this many numbers, for every instruction set */

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef whole ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef real unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

typedef double wide __attribute__((vector_size(VECTOR_BYTES))); /* of float64 in both precisions */
#define WIDE ((int)(VECTOR_BYTES / sizeof(double)))

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const real *from) { return *(const unaligned *)from; }
INLINE void store(real *to, vec value) { *(unaligned *)to = value; }
INLINE vec every(real value) { return value - (vec){0}; } /* value - 0 is value, -0 too */

typedef double unaligned_wide __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(double)), may_alias));

INLINE wide load_wide(const double *from) { return *(const unaligned_wide *)from; }
INLINE void store_wide(double *to, wide value) { *(unaligned_wide *)to = value; }
INLINE wide widened(const real *from) {
#if defined(DBP_DOUBLE)
    return load_wide(from);
#elif defined(DBP_AVX512)
    return (wide)_mm512_cvtps_pd(_mm256_loadu_ps(from));
#elif defined(DBP_AVX2)
    return (wide)_mm256_cvtps_pd(_mm_loadu_ps(from));
#else
    return (wide){(double)from[0], (double)from[1]};
#endif
}

INLINE vec fma_(vec a, vec b, vec c) {
#if defined(DBP_AVX512) && defined(DBP_DOUBLE)
    return (vec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(DBP_AVX512)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(DBP_AVX2) && defined(DBP_DOUBLE)
    return (vec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(DBP_AVX2)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    vec sum;
    for (int lane = 0; lane < LANES; lane++)
#ifdef DBP_DOUBLE
        sum[lane] = __builtin_fma(a[lane], b[lane], c[lane]);
#else
        sum[lane] = __builtin_fmaf(a[lane], b[lane], c[lane]);
#endif
    return sum;
#endif
}

/* Where `mask` (all bits or none, per lane) is set take a, elsewhere b. */
INLINE vec choose(ivec mask, vec a, vec b) { return (vec)(((ivec)a & mask) | ((ivec)b & ~mask)); }

/* The larger and the smaller; a NaN in `value` stays. */
INLINE vec at_least(vec value, vec least) { return choose(value < least, least, value); }
INLINE vec at_most(vec value, vec most) { return choose(value > most, most, value); }

INLINE vec magnitude(vec value) { return (vec)((ivec)value & ~(ivec)every(R(-0.0))); }
INLINE vec with_sign_of(vec value, vec sign) { return (vec)((ivec)value | ((ivec)sign & (ivec)every(R(-0.0)))); }

/* The lanes moved down by `by` places, those at the end coming round. */
INLINE vec rotated(vec value, const int by) {
    ivec from;
    for (int lane = 0; lane < LANES; lane++) from[lane] = (lane + by) % LANES;
#if defined(__clang__)
    vec moved;
    for (int lane = 0; lane < LANES; lane++) moved[lane] = value[(lane + by) % LANES];
    (void)from;
    return moved;
#else
    return __builtin_shuffle(value, from);
#endif
}

/* 0, 1, 2, ...: the lanes' places. */
INLINE ivec places(void) {
    ivec place;
    for (int lane = 0; lane < LANES; lane++) place[lane] = lane;
    return place;
}

/* The first `count` lanes, and zeros. */
INLINE vec first_lanes(vec value, int64_t count) {
    return choose(places() < (ivec){0} + (whole)count, value, (vec){0});
}

#define CHAINS (PAD / LANES) /* vectors that make PAD lanes */

/* The sum of PAD lanes as a tree: each half onto the other, until one is left. */
INLINE real tree_of_lanes(vec *sum) {
    for (int half = CHAINS / 2; half; half /= 2)
        for (int j = 0; j < half; j++) sum[j] += sum[j + half];
    vec total = sum[0];
#if LANES_LOG > 3
    total += rotated(total, 8);
#endif
#if LANES_LOG > 2
    total += rotated(total, 4);
#endif
#if LANES_LOG > 1
    total += rotated(total, 2);
#endif
    total += rotated(total, 1);
    return total[0];
}

/* Call `f` (vec -> vec) on `count` numbers in place; the last few go through a padded vector. */
#define FOR_EACH(count, numbers, f)                                   \
    do {                                                              \
        int64_t at_ = 0;                                              \
        for (; at_ + LANES <= (count); at_ += LANES)                  \
            store((numbers) + at_, f(load((numbers) + at_)));         \
        if (at_ < (count)) {                                          \
            real rest_[LANES] = {0};                                  \
            memcpy(rest_, (numbers) + at_, ((count) - at_) * sizeof(real)); \
            store(rest_, f(load(rest_)));                             \
            memcpy((numbers) + at_, rest_, ((count) - at_) * sizeof(real)); \
        }                                                             \
    } while (0)

#endif
