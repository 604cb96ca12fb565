/* exp, expm1, tanh, the logistic function, softplus and log as polynomials in fused multiply-adds: the same bits on every machine.
 *
 * Range reduction x = n ln 2 + r with |r| <= ln 2 / 2 (Cody & Waite 1980), then expm1(r) = r + r^2 Q(r). Q interpolates at Chebyshev
 * nodes, relative error 2.3e-8 (single) and 5.2e-19 (double). log m = 2 artanh((m - 1) / (m + 1)) by its series.
 */
#ifndef DBP_FUNCTIONS_H
#define DBP_FUNCTIONS_H

#include "lanes.h"

#ifdef DBP_DOUBLE
static const double EXPM1[] = {0.5, 0.16666666666666671008, 0.041666666666666669767, 0.0083333333333261120526,
                               0.0013888888888883731828, 0.00019841269874901259234, 0.000024801587325605322782,
                               2.7557255297969644392e-6, 2.7557273570102139673e-7, 2.5105259538448493419e-8,
                               2.0914717341716375952e-9};
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define ROUNDER 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to a whole number */
#define LN2_HIGH 0.693147180559945286226764
#define LN2_LOW 2.319046813846299558417771e-17
#define LARGEST_EXP 710.0   /* beyond it exp is infinite */
#define SMALLEST_EXP -746.0 /* below it exp is 0 */
#define FLATTEST_EXPM1 -40.0
#define FLATTEST_TANH 20.0 /* beyond it tanh is 1 */
#define SERIES_LOG1P 17
#else
static const float EXPM1[] = {0.5f, 0.16666576845993976311f, 0.041666554437685938899f, 0.0083632029715758549465f,
                              0.0013926213466332443037f};
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define ROUNDER 12582912.0f /* 1.5 * 2^23 */
#define LN2_HIGH 0.693147182464599609375f
#define LN2_LOW -1.904654299957767878541823e-9f
#define LARGEST_EXP 89.0f
#define SMALLEST_EXP -104.0f
#define FLATTEST_EXPM1 -20.0f
#define FLATTEST_TANH 10.0f
#define SERIES_LOG1P 7
#endif
#define EXPM1_TERMS ((int)(sizeof EXPM1 / sizeof EXPM1[0]))

/* expm1(r) of the reduced argument; *power is n, a whole number. */
INLINE vec reduced_expm1(vec x, ivec *power) {
    vec shifted = fma_(x, every(R(1.44269504088896340736)), every(ROUNDER));
    vec n = shifted - ROUNDER;
    *power = (ivec)shifted - (ivec)every(ROUNDER);
    vec r = fma_(n, every(-LN2_HIGH), x);
    r = fma_(n, every(-LN2_LOW), r);
    vec q = every(EXPM1[EXPM1_TERMS - 1]);
    for (int term = EXPM1_TERMS - 2; term >= 0; term--) q = fma_(q, r, every(EXPM1[term]));
    return fma_(q, r * r, r);
}

/* 2^n for a normal result. */
INLINE vec power_of_two(ivec n) { return (vec)((n + EXPONENT_BIAS) << MANTISSA_BITS); }

INLINE vec exp_(vec x) {
    ivec n;
    vec e = reduced_expm1(at_least(at_most(x, every(LARGEST_EXP)), every(SMALLEST_EXP)), &n) + 1;
    ivec half = n >> 1; /* in two steps, so that very small results are subnormal and large ones infinite */
    return e * power_of_two(half) * power_of_two(n - half);
}

/* For x <= 0. */
INLINE vec expm1_of_negative(vec x) {
    ivec n;
    vec p = reduced_expm1(at_least(x, every(FLATTEST_EXPM1)), &n), scale = power_of_two(n);
    return fma_(scale, p, scale - 1);
}

/* tanh |x| = e / (e + 2) with e = expm1(2 |x|): exact in the last bits for small x too. */
INLINE vec tanh_(vec x) {
    ivec n;
    vec size = at_most(magnitude(x), every(FLATTEST_TANH));
    vec p = reduced_expm1(size + size, &n), scale = power_of_two(n);
    vec e = fma_(scale, p, scale - 1);
    return with_sign_of(e / (e + 2), x);
}

INLINE vec logistic(vec x) { return 1 / (exp_(-x) + 1); }

/* For 0 <= x <= 1: 2 artanh(x / (2 + x)). */
INLINE vec log1p_(vec x) {
    vec s = x / (x + 2), z = s * s, sum = every(R(1.0) / (2 * SERIES_LOG1P + 1));
    for (int term = SERIES_LOG1P - 1; term >= 0; term--) sum = fma_(sum, z, every(R(1.0) / (2 * term + 1)));
    return sum * (s + s);
}

INLINE vec softplus(vec x) { return at_least(x, every(0)) + log1p_(exp_(-magnitude(x))); }

/* log of a normal positive number, without a branch, so that a loop of it is vectorised. */
INLINE double log_(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint64_t shifted = bits - 0x3fe6a09e667f3bcdULL; /* sqrt(1/2): the mantissa lies between it and its double */
    uint64_t biased = (shifted >> 52) ^ 0x800; /* n + 2048; AVX2 shifts no signed 64-bit numbers, nor converts them: */
    bits -= (biased - 0x800) << 52;
    uint64_t magic = biased + 0x4330000000000000ULL; /* 2^52 + n + 2048 */
    double m, s, z, whole_part, sum = 1.0 / 23;
    memcpy(&whole_part, &magic, sizeof magic);
    whole_part -= 4503599627370496.0 + 2048;
    memcpy(&m, &bits, sizeof m);
    s = (m - 1) / (m + 1);
    z = s * s;
    for (int term = 10; term >= 0; term--) sum = sum * z + 1.0 / (2 * term + 1);
    return whole_part * 0.693147180559945286226764 + (2 * s * sum + whole_part * 2.319046813846299558417771e-17);
}

enum activation { IDENTITY, THRESHOLD, SIGMOID, TANH, RELU, SOFTPLUS, LEAKY_RELU };
#define LEAKY_SLOPE R(0.01) /* Maas, Hannun & Ng 2013 */

INLINE vec threshold(vec r) { return choose(r >= 0, every(1), every(0)); }
INLINE vec relu(vec r) { return at_least(r, every(0)); }
INLINE vec leaky_relu(vec r) { return choose(r > 0, r, r * LEAKY_SLOPE); }

/* Replace `count` net inputs r by g(r) (F3). */
static void activate(int kind, int64_t count, real *r) {
    switch (kind) {
    case IDENTITY: break;
    case THRESHOLD: FOR_EACH(count, r, threshold); break;
    case SIGMOID: FOR_EACH(count, r, logistic); break;
    case TANH: FOR_EACH(count, r, tanh_); break;
    case RELU: FOR_EACH(count, r, relu); break;
    case SOFTPLUS: FOR_EACH(count, r, softplus); break;
    case LEAKY_RELU: FOR_EACH(count, r, leaky_relu); break;
    }
}

/* delta g'(r), given g(r). */
INLINE vec sigmoid_signal(vec delta, vec g) { return delta * (g * (1 - g)); }
INLINE vec tanh_signal(vec delta, vec g) { return delta * fma_(-g, g, every(1)); }
INLINE vec relu_signal(vec delta, vec g) { return choose(g > 0, delta, every(0)); }
INLINE vec softplus_signal(vec delta, vec g) { return delta * -expm1_of_negative(-g); }
INLINE vec leaky_signal(vec delta, vec g) { return choose(g > 0, delta, delta * LEAKY_SLOPE); }

#define SIGNAL(f)                                                               \
    do {                                                                        \
        int64_t at_ = 0;                                                        \
        for (; at_ + LANES <= count; at_ += LANES)                              \
            store(delta + at_, f(load(delta + at_), load(g + at_)));            \
        if (at_ < count) {                                                      \
            real d_[LANES] = {0}, g_[LANES] = {0};                              \
            memcpy(d_, delta + at_, (count - at_) * sizeof(real));              \
            memcpy(g_, g + at_, (count - at_) * sizeof(real));                  \
            store(d_, f(load(d_), load(g_)));                                   \
            memcpy(delta + at_, d_, (count - at_) * sizeof(real));              \
        }                                                                       \
    } while (0)

/* Multiply `count` error signals by g'(r), given the outputs g(r). */
static void multiply_derivative(int kind, int64_t count, const real *g, real *delta) {
    switch (kind) {
    case SIGMOID: SIGNAL(sigmoid_signal); break;
    case TANH: SIGNAL(tanh_signal); break;
    case RELU: SIGNAL(relu_signal); break;
    case SOFTPLUS: SIGNAL(softplus_signal); break;
    case LEAKY_RELU: SIGNAL(leaky_signal); break;
    default: break; /* identity; threshold is refused before */
    }
}

#endif
