/* THE KERNEL: batch backpropagation over the rows of one shard, block by block. See dbp/network/backprop.py for the equations.
 *
 *     n   rows of a block                  X    (n, N_0)  inputs, contiguous
 *     A_l (n, stride_l)  outputs           D_l  (n, stride_l)  error signal with respect to the net input
 *
 * The stride of a layer of one unit is 1, of a wider one its units rounded up to PAD; what lies between is finite and never read into
 * a result. All memory is lent by the caller and starts as zeros. Nothing is allocated here.
 */
#include <math.h>

#include "losses.h"
#include "products.h"

#ifdef DBP_DOUBLE
#define SQRT sqrt
#else
#define SQRT sqrtf
#endif
#define NAME_(name, suffix) dbp_##name##_##suffix
#define NAME(name, suffix) NAME_(name, suffix)
#define EXPORT(name) __attribute__((visibility("default"))) NAME(name, DBP_SUFFIX)

typedef struct {
    int64_t inputs, outputs, stride, activation;
    real *weights;    /* W_l packed for forward */
    real *transposed; /* W_l^T packed for back; NULL for the first layer */
    real *bias;       /* (stride) */
    real *output, *delta;
} layer;

typedef struct {
    int64_t layers, loss, block_rows;
    layer *layer;
    lent memory;
    real *targets;               /* (block rows, N_L): 0/1 for class indices */
    double *sum_of_exp, *offset; /* (block rows) */
    real limit;                  /* Huber's */
} network;

typedef struct {
    double loss, squared_error;
    int64_t correct;
} result;

typedef struct {
    const real *targets;    /* (rows, N_L), or NULL */
    const int32_t *classes; /* (rows), or NULL */
    const real *weights;    /* (rows), or NULL: every row counts once */
} known;

/* Some rows whose sums are a leaf of a tree, and how many additions are due after it: each adds the last sum to the one before. */
typedef struct {
    int64_t rows;
    const real *in;
    known want;
    int64_t additions;
} leaf;

static known part(const known *want, int64_t from, int64_t outputs) {
    known here = {want->targets ? want->targets + from * outputs : NULL, want->classes ? want->classes + from : NULL,
                  want->weights ? want->weights + from : NULL};
    return here;
}

static void pack_layer(int64_t depth, int64_t columns, const real *from, int64_t row, int64_t column, real *to) {
    if (columns <= FEW_COLUMNS) pack_rows(depth, columns, from, row, column, to);
    else pack(depth, columns, from, row, column, to);
}

/* The sizes of the structures, for the caller to compare with its own. */
void EXPORT(layout)(int64_t *sizes) {
    sizes[0] = sizeof(network), sizes[1] = sizeof(layer), sizes[2] = sizeof(known), sizes[3] = sizeof(result);
    sizes[4] = sizeof(leaf);
}

/* How many losses there are. */
int64_t EXPORT(losses)(void) { return LOSSES; }

/* Take the parameter vector (P): per layer weights (inputs, outputs) row-major, then bias. */
void EXPORT(pack)(network *net, const real *theta) {
    for (int64_t l = 0; l < net->layers; l++) {
        layer *at = &net->layer[l];
        pack_layer(at->inputs, at->outputs, theta, at->outputs, 1, at->weights);
        if (at->transposed) pack_layer(at->outputs, at->inputs, theta, 1, at->outputs, at->transposed);
        theta += at->inputs * at->outputs;
        memcpy(at->bias, theta, at->outputs * sizeof(real));
        theta += at->outputs;
    }
}

/* A_l = g_l(A_l-1 W_l + b_l) for l = 1 ... L (F2), a few rows at a time. */
static const layer *forward(const network *net, int64_t rows, const real *in) {
    int64_t stride = net->layer[0].inputs;
    for (int64_t l = 0; l < net->layers; l++) {
        const layer *at = &net->layer[l];
        multiply(rows, at->inputs, at->outputs, in, stride, at->weights, at->bias, at->output, at->stride);
        activate((int)at->activation, rows * at->stride, at->output);
        in = at->output, stride = at->stride;
    }
    return &net->layer[net->layers - 1];
}

static const real *zero_or_one(const network *net, int64_t rows, int64_t outputs, const int32_t *classes) {
    if (outputs == 1) {
        for (int64_t m = 0; m < rows; m++) net->targets[m] = (real)classes[m];
        return net->targets;
    }
    memset(net->targets, 0, rows * outputs * sizeof(real));
    for (int64_t m = 0; m < rows; m++)
        if (classes[m] >= 0 && classes[m] < outputs) net->targets[m * outputs + classes[m]] = 1;
    return net->targets;
}

static void softmax_block(const network *net, const layer *last, int64_t rows, known want, chains *sums) {
    int64_t outputs = last->outputs, stride = last->stride;
    for (int64_t m = 0; m < rows; m++) {
        int64_t class = want.classes ? want.classes[m] : 0;
        if (class < 0 || class >= outputs) class = 0, sums->loss[0] = NAN; /* refused before; but never write elsewhere */
        softmax_loss(outputs, stride, last->output + m * stride, want.classes ? NULL : want.targets + m * outputs, class,
                     want.weights ? want.weights + m : NULL, last->delta + m * stride, net->sum_of_exp + m, net->offset + m, sums);
    }
    for (int64_t m = 0; m < rows; m++) net->sum_of_exp[m] = log_(net->sum_of_exp[m]) - net->offset[m];
    for (int64_t m = 0; m < rows; m++)
        sums->loss[m % PAD] += want.weights ? (double)want.weights[m] * net->sum_of_exp[m] : net->sum_of_exp[m];
}

/* Leave dE/dy in the last delta. The outputs stay as they are. */
static void error_signal(const network *net, const layer *last, int64_t rows, known want, chains *sums) {
    int64_t outputs = last->outputs, stride = last->stride;
    if (net->loss == CROSS_ENTROPY && outputs > 1) {
        softmax_block(net, last, rows, want, sums);
        return;
    }
    const real *t = want.classes ? zero_or_one(net, rows, outputs, want.classes) : want.targets;
    if (outputs == 1 && (net->loss == CROSS_ENTROPY || net->loss == BINARY_CROSS_ENTROPY)) {
        logistic_loss(rows, last->output, t, want.weights, 1, last->delta, sums);
    } else if (net->loss == BINARY_CROSS_ENTROPY) {
        for (int64_t m = 0; m < rows; m++)
            logistic_loss(outputs, last->output + m * stride, t + m * outputs, want.weights ? want.weights + m : NULL, 0,
                          last->delta + m * stride, sums);
    } else if (net->loss == POISSON) {
        if (outputs == 1) poisson_loss(rows, last->output, t, want.weights, 1, last->delta, sums);
        else
            for (int64_t m = 0; m < rows; m++)
                poisson_loss(outputs, last->output + m * stride, t + m * outputs, want.weights ? want.weights + m : NULL, 0,
                             last->delta + m * stride, sums);
    } else if (outputs == 1) {
        residuals((int)net->loss, net->limit, rows, last->output, t, want.weights, 1, last->delta, sums);
    } else {
        for (int64_t m = 0; m < rows; m++)
            residuals((int)net->loss, net->limit, outputs, last->output + m * stride, t + m * outputs,
                      want.weights ? want.weights + m : NULL, 0, last->delta + m * stride, sums);
    }
}

/* Rows whose largest output (the first of equals) is their class; one output is class 1 above 0 (cross-entropy) or 1/2. */
static int64_t count_correct(const network *net, const layer *last, int64_t rows, const int32_t *classes) {
    int64_t correct = 0;
    real border = net->loss == CROSS_ENTROPY ? 0 : R(0.5);
    for (int64_t m = 0; m < rows; m++) {
        const real *y = last->output + m * last->stride;
        int64_t largest = 0;
        if (last->outputs == 1) largest = y[0] > border;
        else for (int64_t c = 1; c < last->outputs; c++) largest = y[c] > y[largest] ? c : largest;
        correct += largest == classes[m];
    }
    return correct;
}

static void copy_signal(int64_t rows, int64_t units, const real *delta, int64_t stride, real *to) {
    for (int64_t m = 0; m < rows; m++) memcpy(to + m * units, delta + m * stride, units * sizeof(real));
}

/* gradient = or += dE/dW_l = A_l-1^T D_l, dE/db_l = 1^T D_l (S3), with D_l-1 = (D_l W_l^T) g'(r_l-1) (S2), last layer first.
 * U2 to U5 are S3 at the last two layers.
 */
static void backward(const network *net, int64_t rows, const real *in, real *gradient, int64_t parameters, int add,
                     int64_t first_row, real **signals) {
    for (int64_t l = net->layers - 1; l >= 0; l--) {
        const layer *at = &net->layer[l];
        const real *below = l ? net->layer[l - 1].output : in;
        int64_t stride_below = l ? net->layer[l - 1].stride : at->inputs;
        if (signals) copy_signal(rows, at->outputs, at->delta, at->stride, signals[l + 1] + first_row * at->outputs);
        multiply_derivative((int)at->activation, rows * at->stride, at->output, at->delta);
        parameters -= (at->inputs + 1) * at->outputs;
        real *weights = gradient + parameters, *bias = weights + at->inputs * at->outputs;
        multiply_transposed(rows, at->inputs, at->outputs, below, stride_below, at->delta, at->stride, weights, add, net->memory);
        sum_columns(rows, at->outputs, at->delta, at->stride, bias, add);
        if (l)
            multiply(rows, at->outputs, at->inputs, at->delta, at->stride, at->transposed, NULL, net->layer[l - 1].delta,
                     stride_below);
        else if (signals) /* how far the error reaches: to the inputs; asked for by people, not in training, so plainly */
            multiply(rows, at->outputs, at->inputs, at->delta, at->stride, at->transposed, NULL,
                     signals[0] + first_row * at->inputs, at->inputs);
    }
}

/* The sums of the errors over `rows` rows; with `gradient` (P) also their gradient; with `signals` also the error signals. */
void EXPORT(sums)(network *net, int64_t rows, const real *in, const known *want, int64_t parameters, real *gradient,
                  real **signals, result *found) {
    chains sums;
    memset(&sums, 0, sizeof sums);
    found->correct = 0;
    int64_t blocks = (rows + net->block_rows - 1) / net->block_rows; /* equal ones, rather than full ones and a rest */
    for (int64_t block = 0; block < blocks; block++) {
        int64_t from = rows * block / blocks, count = rows * (block + 1) / blocks - from;
        const real *x = in + from * net->layer[0].inputs;
        const layer *last = forward(net, count, x);
        known here = part(want, from, last->outputs);
        error_signal(net, last, count, here, &sums);
        if (gradient) backward(net, count, x, gradient, parameters, block > 0, from, signals);
        else if (here.classes) found->correct += count_correct(net, last, count, here.classes);
    }
    found->loss = tree_sum(sums.loss);
    found->squared_error = tree_sum(sums.squared_error);
}

/* The sums over `count` leaves, the first on the left, added as a tree: gradient[0] (P) and found[0] are the tree's. As many of both are
 * lent as sums wait for their sibling at once.
 */
void EXPORT(sums_of_tree)(network *net, int64_t count, const leaf *leaves, int64_t parameters, real **gradient, result *found) {
    for (int64_t i = 0, waiting = 0; i < count; i++, waiting++) {
        const leaf *at = &leaves[i];
        NAME(sums, DBP_SUFFIX)(net, at->rows, at->in, &at->want, parameters, gradient[waiting], NULL, &found[waiting]);
        for (int64_t addition = 0; addition < at->additions; addition++, waiting--) {
            real *left = gradient[waiting - 1];
            const real *right = gradient[waiting];
            for (int64_t p = 0; p < parameters; p++) left[p] += right[p];
            found[waiting - 1].loss += found[waiting].loss;
            found[waiting - 1].squared_error += found[waiting].squared_error;
        }
    }
}

/* jacobian (rows, stride) = sqrt(weight) dy_n/dtheta of each row, for one output n; delta is used up. */
static void jacobian_rows(const network *net, int64_t rows, const real *in, int64_t output, const real *weights,
                          int64_t parameters, real *jacobian, int64_t stride) {
    const layer *last = &net->layer[net->layers - 1];
    memset(last->delta, 0, rows * last->stride * sizeof(real));
    for (int64_t m = 0; m < rows; m++) last->delta[m * last->stride + output] = weights ? SQRT(weights[m]) : 1;
    for (int64_t l = net->layers - 1; l >= 0; l--) {
        const layer *at = &net->layer[l];
        const real *below = l ? net->layer[l - 1].output : in;
        int64_t below_stride = l ? net->layer[l - 1].stride : at->inputs;
        multiply_derivative((int)at->activation, rows * at->stride, at->output, at->delta);
        parameters -= (at->inputs + 1) * at->outputs;
        for (int64_t m = 0; m < rows; m++) {
            real *to = jacobian + m * stride + parameters;
            const real *delta = at->delta + m * at->stride;
            for (int64_t i = 0; i < at->inputs; i++, to += at->outputs)
                for (int64_t o = 0; o < at->outputs; o++) to[o] = below[m * below_stride + i] * delta[o];
            memcpy(to, delta, at->outputs * sizeof(real));
        }
        if (l)
            multiply(rows, at->outputs, at->inputs, at->delta, at->stride, at->transposed, NULL, net->layer[l - 1].delta,
                     below_stride);
    }
}

/* The upper triangle (zeros below) of gram (P, P) = J^T J over all rows and outputs, J the Jacobian of the outputs: the Gauss-Newton matrix of the
 * squared error. Lent: jacobian (block rows, stride), panels of the same size.
 */
void EXPORT(gauss_newton)(network *net, int64_t rows, const real *in, const real *weights, int64_t parameters, real *gram,
                          real *jacobian, int64_t stride, real *panels) {
    int64_t blocks = (rows + net->block_rows - 1) / net->block_rows;
    for (int64_t block = 0; block < blocks; block++) {
        int64_t from = rows * block / blocks, count = rows * (block + 1) / blocks - from;
        const real *x = in + from * net->layer[0].inputs;
        const layer *last = forward(net, count, x);
        for (int64_t n = 0; n < last->outputs; n++) {
            jacobian_rows(net, count, x, n, weights ? weights + from : NULL, parameters, jacobian, stride);
            pack(count, parameters, jacobian, stride, 1, panels);
            add_gram(count, parameters, jacobian, stride, panels, gram, block > 0 || n > 0);
        }
    }
    for (int64_t i = 0; i < parameters; i++) memset(gram + i * parameters, 0, i * sizeof(real));
}

/* Solve A x = b for a symmetric matrix A (size, size), of which the upper triangle is read; A becomes its Cholesky factor, b the
 * solution. Returns 0, or the row (from 1) at which A is found not to be positive definite.
 */
int64_t EXPORT(solve)(int64_t size, real *a, real *b) {
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j < i; j++) a[i * size + j] = a[j * size + i];
    for (int64_t i = 0; i < size; i++) {
        real *row = a + i * size;
        for (int64_t j = 0; j < i; j++) row[j] = (row[j] - inner(j, row, a + j * size)) / a[j * size + j];
        real pivot = row[i] - inner(i, row, row);
        if (!(pivot > 0)) return i + 1;
        row[i] = SQRT(pivot);
        b[i] = (b[i] - inner(i, row, b)) / row[i];
    }
    for (int64_t i = size - 1; i >= 0; i--) {
        b[i] /= a[i * size + i];
        for (int64_t j = 0; j < i; j++) b[j] -= b[i] * a[i * size + j];
    }
    return 0;
}

/* out (rows, N_L) = the network's outputs. */
void EXPORT(forward)(network *net, int64_t rows, const real *in, real *out) {
    for (int64_t from = 0; from < rows; from += net->block_rows) {
        int64_t count = minimum(net->block_rows, rows - from);
        const layer *last = forward(net, count, in + from * net->layer[0].inputs);
        copy_signal(count, last->outputs, last->output, last->stride, out + from * last->outputs);
    }
}

/* The loss alone: the sums of the errors of outputs (rows, N_L), and delta (rows, N_L) unless that is NULL. */
void EXPORT(loss)(network *net, int64_t rows, const real *outputs, const known *want, real *delta, result *found) {
    const layer *last = &net->layer[net->layers - 1];
    int64_t units = last->outputs;
    chains sums;
    memset(&sums, 0, sizeof sums);
    found->correct = 0;
    for (int64_t from = 0; from < rows; from += net->block_rows) {
        int64_t count = minimum(net->block_rows, rows - from);
        known here = part(want, from, units);
        for (int64_t m = 0; m < count; m++)
            memcpy(last->output + m * last->stride, outputs + (from + m) * units, units * sizeof(real));
        error_signal(net, last, count, here, &sums);
        if (delta) copy_signal(count, units, last->delta, last->stride, delta + from * units);
        if (here.classes) found->correct += count_correct(net, last, count, here.classes);
    }
    found->loss = tree_sum(sums.loss);
    found->squared_error = tree_sum(sums.squared_error);
}

void EXPORT(activate)(int64_t kind, int64_t count, real *r) { activate((int)kind, count, r); }

void EXPORT(multiply_derivative)(int64_t kind, int64_t count, const real *g, real *delta) {
    multiply_derivative((int)kind, count, g, delta);
}

/* sum of a b in float64, in PAD chains. */
static double sum_of_products(int64_t count, const real *a, const real *b) {
    double chain[PAD] = {0};
    int64_t from = 0;
    for (; from + PAD <= count; from += PAD)
        for (int j = 0; j < PAD; j++) chain[j] += (double)a[from + j] * (double)b[from + j];
    for (int j = 0; from + j < count; j++) chain[j] += (double)a[from + j] * (double)b[from + j];
    return tree_sum(chain);
}

double EXPORT(dot)(int64_t count, const real *a, const real *b) { return sum_of_products(count, a, b); }

/* vector (in float64 in both precisions) += by * with, and at once two sums with the new vector and `next`: *found of next * vector,
 * *square of next * beside. Each as in `sum_of_products`; together, because what these loops wait for is memory.
 */
INLINE void move_and_sum(const int moves, const int squares, int64_t count, double by, const real *with, double *vector,
                         const real *next, const real *beside, double *found, double *square) {
    wide sum[PAD / WIDE] = {{0}}, sum_beside[PAD / WIDE] = {{0}};
    double chain[PAD], other[PAD];
    int64_t from = 0;
    for (; from + PAD <= count; from += PAD)
        for (int j = 0; j < PAD / WIDE; j++) {
            const int64_t i = from + j * WIDE;
            wide here = load_wide(vector + i), factor = widened(next + i);
            if (moves) store_wide(vector + i, here += widened(with + i) * by);
            sum[j] += factor * here;
            if (squares) sum_beside[j] += factor * widened(beside + i);
        }
    for (int j = 0; j < PAD / WIDE; j++) store_wide(chain + j * WIDE, sum[j]), store_wide(other + j * WIDE, sum_beside[j]);
    for (int j = 0; from + j < count; j++) {
        const int64_t i = from + j;
        if (moves) vector[i] += (double)with[i] * by;
        chain[j] += (double)next[i] * vector[i];
        if (squares) other[j] += (double)next[i] * (double)beside[i];
    }
    *found = tree_sum(chain);
    if (squares) *square = tree_sum(other);
}

/* direction = -H gradient by the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4) over pairs >= 1 of moves s and changes y,
 * newest first; H begins as (s.y / y.y) I of the newest. In float64, rounded once. vector (count) and share, curvature (pairs) are room. */
void EXPORT(two_loops)(int64_t count, int64_t pairs, const real *const *moves, const real *const *changes,
                       const real *gradient, double *vector, double *share, double *curvature, real *direction) {
    double product;
    for (int64_t i = 0; i < count; i++) vector[i] = -(double)gradient[i];
    for (int64_t k = 0; k < pairs; k++) {
        if (k == 0) move_and_sum(0, 1, count, 0, NULL, vector, moves[0], changes[0], &product, &curvature[0]);
        else move_and_sum(1, 1, count, -share[k - 1], changes[k - 1], vector, moves[k], changes[k], &product, &curvature[k]);
        share[k] = product / curvature[k];
    }
    const double scale = curvature[0] / sum_of_products(count, changes[0], changes[0]), last = share[pairs - 1];
    for (int64_t i = 0; i < count; i++) vector[i] = (vector[i] - (double)changes[pairs - 1][i] * last) * scale;
    double rest = 0;
    for (int64_t k = pairs - 1; k >= 0; k--) {
        if (k == pairs - 1) move_and_sum(0, 0, count, 0, NULL, vector, changes[k], NULL, &product, NULL);
        else move_and_sum(1, 0, count, rest, moves[k + 1], vector, changes[k], NULL, &product, NULL);
        rest = share[k] - product / curvature[k];
    }
    for (int64_t i = 0; i < count; i++) direction[i] = (real)(vector[i] + (double)moves[0][i] * rest);
}
