/* Losses: from the outputs y of a block to the sums of its errors and the error signal dE/dy (E1, S1).
 *
 * Sums are float64, kept in PAD chains: the element at place p of its row (of its block, for one output) goes to chain p % PAD.
 */
#ifndef DBP_LOSSES_H
#define DBP_LOSSES_H

#include "functions.h"

enum loss { SQUARED_ERROR, CROSS_ENTROPY, HUBER, ABSOLUTE_ERROR, BINARY_CROSS_ENTROPY, POISSON, LOSSES };

typedef struct {
    double loss[PAD];
    double squared_error[PAD];
} chains;

INLINE double tree_sum(double *chain) {
    for (int width = PAD / 2; width; width /= 2)
        for (int j = 0; j < width; j++) chain[j] += chain[j + width];
    return chain[0];
}

/* For `count` elements with error e = y - t and weight w: w LOSS to the loss, w e^2 to the squares, w SIGNAL to delta. */
#define RESIDUALS(WEIGHT, LOSS, SIGNAL)                                       \
    for (int64_t from = 0; from < count; from += PAD) {                       \
        int width = (int)(count - from < PAD ? count - from : PAD);           \
        if (width == PAD) {                                                   \
            for (int j = 0; j < PAD; j++) RESIDUAL(WEIGHT, LOSS, SIGNAL)      \
        } else {                                                              \
            for (int j = 0; j < width; j++) RESIDUAL(WEIGHT, LOSS, SIGNAL)    \
        }                                                                     \
    }
#define RESIDUAL(WEIGHT, LOSS, SIGNAL)                                        \
    {                                                                         \
        real e = y[from + j] - t[from + j], w = WEIGHT;                       \
        double square = (double)e * (double)e;                                \
        sums->loss[j] += (double)w * (LOSS);                                  \
        sums->squared_error[j] += (double)w * square;                         \
        delta[from + j] = w * (SIGNAL);                                       \
        (void)square;                                                         \
    }

INLINE real absolute(real e) { return e < 0 ? -e : e; }
INLINE real clipped(real e, real limit) { return e > limit ? limit : e < -limit ? -limit : e; }

#define HUBER_LOSS                                                                                              \
    (absolute(e) <= limit ? 0.5 * square : (double)limit * ((double)absolute(e) - 0.5 * (double)limit))
#define SIGN ((real)((e > 0) - (e < 0)))
#define BY_LOSS(WEIGHT)                                                                             \
    switch (kind) {                                                                                 \
    case HUBER: RESIDUALS(WEIGHT, HUBER_LOSS, clipped(e, limit)) break;                             \
    case ABSOLUTE_ERROR: RESIDUALS(WEIGHT, (double)absolute(e), e == e ? SIGN : e) break;           \
    default: RESIDUALS(WEIGHT, 0.5 * square, e) break;                                              \
    }

/* weight_step: 0, one weight for all; 1, one each; weight NULL: none. */
static void residuals(int kind, real limit, int64_t count, const real *y, const real *t, const real *weight, int weight_step,
                      real *delta, chains *sums) {
    if (weight == NULL) {
        BY_LOSS(1)
    } else if (weight_step == 0) {
        const real same = *weight;
        BY_LOSS(same)
    } else {
        BY_LOSS(weight[from + j])
    }
}

/* -t log p - (1 - t) log(1 - p) with p = 1 / (1 + exp -r), as max(r, 0) + log(1 + exp -|r|) - t r. Weighted as above. */
static void logistic_loss(int64_t count, const real *r, const real *t, const real *weight, int weight_step, real *delta,
                          chains *sums) {
    for (int64_t from = 0; from < count; from += LANES) {
        int width = (int)(count - from < LANES ? count - from : LANES);
        real net[LANES] = {0}, known[LANES] = {0}, error[LANES], loss[LANES];
        memcpy(net, r + from, width * sizeof(real));
        memcpy(known, t + from, width * sizeof(real));
        vec x = load(net), e = exp_(-magnitude(x));
        vec p = choose(x >= 0, every(1), e) / (e + 1);
        store(error, p - load(known));
        store(loss, at_least(x, every(0)) + log1p_(e) - load(known) * x);
        for (int j = 0, chain = (int)(from % PAD); j < width; j++, chain++) {
            real w = weight ? weight[weight_step * (from + j)] : 1;
            sums->loss[chain] += (double)w * (double)loss[j];
            sums->squared_error[chain] += (double)w * ((double)error[j] * (double)error[j]);
            delta[from + j] = w * error[j];
        }
    }
}

/* Half the Poisson deviance, exp r - t r + t log t - t (Nelder & Wedderburn 1972); delta = exp r - t. Weighted as above. */
static void poisson_loss(int64_t count, const real *r, const real *t, const real *weight, int weight_step, real *delta,
                         chains *sums) {
    for (int64_t from = 0; from < count; from += LANES) {
        int width = (int)(count - from < LANES ? count - from : LANES);
        real net[LANES] = {0}, rate[LANES];
        memcpy(net, r + from, width * sizeof(real));
        store(rate, exp_(load(net)));
        for (int j = 0, chain = (int)(from % PAD); j < width; j++, chain++) {
            real w = weight ? weight[weight_step * (from + j)] : 1, error = rate[j] - t[from + j];
            double known = (double)t[from + j], least = known > 0 ? known * log_(known) - known : 0;
            sums->loss[chain] += (double)w * ((double)rate[j] - known * (double)net[j] + least);
            sums->squared_error[chain] += (double)w * ((double)error * (double)error);
            delta[from + j] = w * error;
        }
    }
}

/* The largest of the first `count` numbers of a row padded to whole vectors; NaN if there is one. */
INLINE real largest_of(int64_t count, const real *r) {
    vec most = every(r[0]);
    for (int64_t c = 0; c < count; c += LANES) {
        vec here = choose(places() < (ivec){0} + (whole)(count - c), load(r + c), most);
        most = choose((here > most) | (here != here), here, most);
    }
    for (int by = LANES / 2; by; by /= 2) {
        vec other = rotated(most, by);
        most = choose((other > most) | (other != other), other, most);
    }
    return most[0];
}

/* -sum t log softmax(r) for one row of `count` classes (Bridle 1990); t is a row of targets, or NULL and the class `known`.
 * log p = r - max r - log sum exp(r - max r): the largest term is exp(0), so nothing overflows. Writes stride numbers of delta; in
 * whole vectors, because a vector is not to be read where a single number of it has just been written.
 */
static void softmax_loss(int64_t count, int64_t stride, const real *r, const real *t, int64_t known, const real *weight,
                         real *delta, double *log_of, double *offset, chains *sums) {
    const real largest = largest_of(count, r);
    vec chain[CHAINS] = {{0}};
    for (int64_t from = 0; from < stride; from += PAD)
        for (int j = 0; j < CHAINS; j++) {
            const int64_t c = from + j * LANES;
            vec e = first_lanes(exp_(load(r + c) - largest), count - c);
            store(delta + c, e);
            chain[j] += e;
        }
    const real sum = tree_of_lanes(chain);
    double inner = 0;
    if (t) {
        for (int64_t c = 0; c < count; c++)
            if (t[c] != 0) inner += (double)t[c] * ((double)r[c] - (double)largest);
    } else {
        inner = (double)r[known] - (double)largest;
    }
    *log_of = (double)sum;
    *offset = inner;
    for (int64_t c = 0; c < stride; c += LANES) {
        vec p = load(delta + c) / sum;
        if (!t) p -= choose(places() == (ivec){0} + (whole)(known - c), every(1), (vec){0});
        store(delta + c, p);
    }
    if (t) for (int64_t c = 0; c < count; c++) delta[c] -= t[c];
    const double factor = weight ? (double)*weight : 1;
    for (int64_t from = 0; from < stride; from += PAD)
        for (int j = 0; j < PAD; j++) {
            double error = (double)delta[from + j];
            sums->squared_error[j] += factor * (error * error);
        }
    if (weight)
        for (int64_t c = 0; c < stride; c += LANES) store(delta + c, load(delta + c) * *weight);
}

#endif
