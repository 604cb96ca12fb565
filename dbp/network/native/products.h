/* The three matrix products of a layer, tile by tile: a tile of the result stays in registers while the sum runs.
 *
 * Each number of a result is one chain of fused multiply-adds in the order of the sum, whatever the tile it falls in:
 * the bits depend neither on the number of lanes nor on the tiles' sizes. (`dot`, for results of one or two columns, keeps PAD chains.)
 *
 * Packed panels: a matrix (depth, columns) cut into panels of MOST_VECTORS * LANES columns, the last one narrower (whole vectors);
 * inside a panel row by row. Panel p starts at depth * (its first column).
 */
#ifndef DBP_PRODUCTS_H
#define DBP_PRODUCTS_H

#include "lanes.h"

#define PANEL (MOST_VECTORS * LANES)
#define FEW_COLUMNS 2 /* results this narrow are dot products */
#define SWAPPED_COLUMNS 8 /* gradients this narrow go by vectors of features */
#define STRIP 8       /* most rows of a tile */
#define FEATURES 96   /* of a block that are packed together */
#define LONG_ROW 1024 /* bytes: a stride from which it pays to pack */

INLINE int64_t rounded_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }
INLINE int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }

/* sum[m][v] += over k of a[m * a_row + k * a_step] * b[k * b_step + v * LANES ...] */
INLINE void accumulate(const int rows, const int vectors, int64_t depth, const real *a, int64_t a_row, int64_t a_step,
                       const real *b, int64_t b_step, vec sum[STRIP][MOST_VECTORS]) {
    vec s[STRIP][MOST_VECTORS];
    for (int m = 0; m < rows; m++)
        for (int v = 0; v < vectors; v++) s[m][v] = sum[m][v];
    for (int64_t k = 0; k < depth; k++) {
        vec right[MOST_VECTORS];
        for (int v = 0; v < vectors; v++) right[v] = load(b + v * LANES);
        for (int m = 0; m < rows; m++) {
            vec left = every(a[m * a_row]);
            for (int v = 0; v < vectors; v++) s[m][v] = fma_(left, right[v], s[m][v]);
        }
        a += a_step;
        b += b_step;
    }
    for (int m = 0; m < rows; m++)
        for (int v = 0; v < vectors; v++) sum[m][v] = s[m][v];
}

/* A tile starts from 0, from a row (a bias) or from what is there, and goes to `to`; `columns` of it are real. */
enum start { FROM_ZERO, FROM_ROW, FROM_RESULT };
typedef struct {
    enum start start;
    const real *row;
    real *to;
    int64_t stride;
    int64_t columns;
} target;

INLINE void tile(const int rows, const int vectors, int64_t depth, const real *a, int64_t a_row, int64_t a_step,
                 const real *b, int64_t b_step, const target *into) {
    vec sum[STRIP][MOST_VECTORS];
    for (int m = 0; m < rows; m++)
        for (int v = 0; v < vectors; v++)
            sum[m][v] = into->start == FROM_ROW ? load(into->row + v * LANES) : (vec){0};
    if (into->start == FROM_RESULT) /* needed when the sum is done: called into the cache meanwhile */
        for (int m = 0; m < rows; m++)
            for (int v = 0; v < vectors; v++) __builtin_prefetch(into->to + m * into->stride + v * LANES, 1);
    accumulate(rows, vectors, depth, a, a_row, a_step, b, b_step, sum);
    for (int m = 0; m < rows; m++)
        for (int v = 0; v < vectors; v++) {
            real *to = into->to + m * into->stride + v * LANES;
            int64_t real_columns = into->columns - v * LANES;
            if (real_columns >= LANES) {
                store(to, into->start == FROM_RESULT ? load(to) + sum[m][v] : sum[m][v]);
            } else if (real_columns > 0) {
                real rest[LANES];
                store(rest, sum[m][v]);
                for (int64_t c = 0; c < real_columns; c++) to[c] = into->start == FROM_RESULT ? to[c] + rest[c] : rest[c];
            }
        }
}

#define TILE(ROWS, VECTORS) tile(ROWS, VECTORS, depth, a, a_row, a_step, b, b_step, into)

/* The most rows of a tile of so many vectors: as many sums as registers hold beside the factors. */
#if MOST_VECTORS > 2
#define MOST_ROWS(VECTORS) ((VECTORS) > 2 ? 6 : 8)
#else
#define MOST_ROWS(VECTORS) ((VECTORS) > 1 ? 6 : 8)
#endif

/* One tile of a size not known to the compiler; returns how many rows it took (at most `rows`). What is left over by whole tiles is
 * one tile as well: in several small ones each sum would wait for its own last addition.
 */
#define TILE_OF(ROWS, VECTORS) \
    case ROWS: tile(ROWS, VECTORS, depth, a, a_row, a_step, b, b_step, into); break;
#define UP_TO_SIX(VECTORS)                                                                       \
    TILE_OF(1, VECTORS) TILE_OF(2, VECTORS) TILE_OF(3, VECTORS) TILE_OF(4, VECTORS) TILE_OF(5, VECTORS) TILE_OF(6, VECTORS)
#define UP_TO_EIGHT(VECTORS) UP_TO_SIX(VECTORS) TILE_OF(7, VECTORS) TILE_OF(8, VECTORS)

static inline int some_rows(int64_t rows, int vectors, int64_t depth, const real *a, int64_t a_row, int64_t a_step,
                            const real *b, int64_t b_step, const target *into) {
    int most = (int)minimum(rows, MOST_ROWS(vectors));
    switch (vectors) {
#if MOST_VECTORS > 2
    case 4: switch (most) { UP_TO_SIX(4) } break;
    case 3: switch (most) { UP_TO_SIX(3) } break;
    case 2: switch (most) { UP_TO_EIGHT(2) } break;
#else
    case 2: switch (most) { UP_TO_SIX(2) } break;
#endif
    default: switch (most) { UP_TO_EIGHT(1) } break;
    }
    return most;
}

INLINE int vectors_of_panel(int64_t columns, int64_t first) {
    return (int)(rounded_up(minimum(columns - first, PANEL), LANES) / LANES);
}

/* Pack `from` (depth, columns), element (k, c) at k * row + c * column, into panels. */
static void pack(int64_t depth, int64_t columns, const real *from, int64_t row, int64_t column, real *panels) {
    for (int64_t first = 0; first < columns; first += PANEL) {
        int64_t width = vectors_of_panel(columns, first) * LANES, real_width = minimum(columns - first, width);
        for (int64_t k = 0; k < depth; k++, panels += width) {
            const real *source = from + k * row + first * column;
            if (column == 1) memcpy(panels, source, real_width * sizeof(real));
            else for (int64_t c = 0; c < real_width; c++) panels[c] = source[c * column];
            if (real_width < width) memset(panels + real_width, 0, (width - real_width) * sizeof(real));
        }
    }
}

/* The same transposed and padded with zeros to PAD: one row per column, for `dot`. */
static void pack_rows(int64_t depth, int64_t columns, const real *from, int64_t row, int64_t column, real *rows) {
    int64_t padded = rounded_up(depth, PAD);
    for (int64_t c = 0; c < columns; c++, rows += padded) {
        for (int64_t k = 0; k < depth; k++) rows[k] = from[k * row + c * column];
        memset(rows + depth, 0, (padded - depth) * sizeof(real));
    }
}

/* sum over k of a[k] b[k] in PAD chains; b is padded with zeros, and so may a be read if `beyond`. */
INLINE real dot(int64_t depth, const real *a, const real *b, int beyond) {
    vec sum[CHAINS];
    int64_t k = 0;
    for (int j = 0; j < CHAINS; j++) sum[j] = (vec){0};
    for (; k + PAD <= depth; k += PAD)
        for (int j = 0; j < CHAINS; j++) sum[j] = fma_(load(a + k + j * LANES), load(b + k + j * LANES), sum[j]);
    if (k < depth) {
        real rest[PAD];
        if (!beyond) {
            for (int j = 0; j < PAD; j++) rest[j] = k + j < depth ? a[k + j] : 0;
            a = rest - k;
        }
        for (int j = 0; j < CHAINS; j++) /* what lies beyond is another row's: it may be NaN */
            sum[j] = fma_(first_lanes(load(a + k + j * LANES), depth - k - j * LANES), load(b + k + j * LANES), sum[j]);
    }
    return tree_of_lanes(sum);
}

/* sum over k of a[k] b[k] in PAD chains, of vectors with no padding. */
static real inner(int64_t count, const real *a, const real *b) {
    vec sum[CHAINS];
    int64_t k = 0;
    for (int j = 0; j < CHAINS; j++) sum[j] = (vec){0};
    for (; k + PAD <= count; k += PAD)
        for (int j = 0; j < CHAINS; j++) sum[j] = fma_(load(a + k + j * LANES), load(b + k + j * LANES), sum[j]);
    if (k < count) {
        real rest[2][PAD] = {{0}};
        memcpy(rest[0], a + k, (count - k) * sizeof(real));
        memcpy(rest[1], b + k, (count - k) * sizeof(real));
        for (int j = 0; j < CHAINS; j++) sum[j] = fma_(load(rest[0] + j * LANES), load(rest[1] + j * LANES), sum[j]);
    }
    return tree_of_lanes(sum);
}

/* out (rows, columns) = in (rows, depth) B + row, with B packed (`pack`, or `pack_rows` for few columns); row may be NULL. */
static void multiply(int64_t rows, int64_t depth, int64_t columns, const real *in, int64_t in_stride, const real *packed,
                     const real *row, real *out, int64_t out_stride) {
    if (columns <= FEW_COLUMNS) {
        for (int64_t c = 0; c < columns; c++) {
            const real *right = packed + c * rounded_up(depth, PAD);
            const real start = row ? row[c] : 0;
            int64_t m = 0, inside = rows - (PAD + in_stride - 1) / in_stride; /* a vector from these stays within the matrix */
            for (; m < inside; m++) out[m * out_stride + c] = dot(depth, in + m * in_stride, right, 1) + start;
            for (; m < rows; m++) out[m * out_stride + c] = dot(depth, in + m * in_stride, right, 0) + start;
        }
        return;
    }
    /* As many whole panels at a time as stay in the cache, all rows against them. */
    int64_t whole = columns / PANEL * PANEL, together = (1 << 19) / ((int64_t)sizeof(real) * depth) / PANEL * PANEL;
    if (together < PANEL) together = PANEL;
    for (int64_t from = 0; from < whole; from += together) {
        int64_t to = minimum(from + together, whole);
        for (int64_t m = 0, done = 1; m < rows; m += done)
            for (int64_t first = from; first < to; first += PANEL) {
                target into = {row ? FROM_ROW : FROM_ZERO, row ? row + first : NULL, out + m * out_stride + first, out_stride, PANEL};
                done = some_rows(rows - m, MOST_VECTORS, depth, in + m * in_stride, in_stride, 1,
                                 packed + first * depth, PANEL, &into);
            }
    }
    if (whole < columns) {
        int vectors = vectors_of_panel(columns, whole);
        int64_t written = whole + vectors * LANES <= out_stride ? vectors * LANES : columns - whole;
        for (int64_t m = 0, done; m < rows; m += done) {
            target into = {row ? FROM_ROW : FROM_ZERO, row ? row + whole : NULL, out + m * out_stride + whole, out_stride, written};
            done = some_rows(rows - m, vectors, depth, in + m * in_stride, in_stride, 1, packed + whole * depth,
                             vectors * LANES, &into);
        }
    }
}

/* Memory lent to `multiply_transposed`. */
typedef struct {
    real *strip;  /* (block rows, FEATURES) */
    real *panels; /* (block rows, widest layer, padded) */
} lent;

/* The same for a gradient of few columns, by vectors of features: delta^T in, then turned over. */
static void multiply_transposed_narrow(int64_t rows, int64_t features, int64_t columns, const real *in, int64_t in_stride,
                                       const real *delta, int64_t delta_stride, real *gradient, int add, lent memory) {
    for (int64_t first = 0; first < features; first += PANEL) {
        int vectors = vectors_of_panel(features, first);
        int64_t width = vectors * LANES, real_width = minimum(features - first, width), stride = in_stride;
        const real *right = in + first;
        if (real_width < width) { /* the rows may end here: never read beyond */
            for (int64_t m = 0; m < rows; m++) {
                memcpy(memory.strip + m * width, in + m * in_stride + first, real_width * sizeof(real));
                memset(memory.strip + m * width + real_width, 0, (width - real_width) * sizeof(real));
            }
            right = memory.strip, stride = width;
        }
        real found[SWAPPED_COLUMNS * PANEL];
        for (int64_t c = 0, done; c < columns; c += done) {
            target into = {FROM_ZERO, NULL, found + c * PANEL, PANEL, width};
            done = some_rows(columns - c, vectors, rows, delta + c, 1, delta_stride, right, stride, &into);
        }
        for (int64_t f = 0; f < real_width; f++)
            for (int64_t c = 0; c < columns; c++) {
                real *to = gradient + (first + f) * columns + c;
                *to = add ? *to + found[c * PANEL + f] : found[c * PANEL + f];
            }
    }
}

/* gradient (features, columns) = or += in^T delta, the sum over rows (S3). */
static void multiply_transposed(int64_t rows, int64_t features, int64_t columns, const real *in, int64_t in_stride,
                                const real *delta, int64_t delta_stride, real *gradient, int add, lent memory) {
    if (columns <= SWAPPED_COLUMNS) {
        multiply_transposed_narrow(rows, features, columns, in, in_stride, delta, delta_stride, gradient, add, memory);
        return;
    }
    enum start start = add ? FROM_RESULT : FROM_ZERO;
    int packs_delta = delta_stride * (int64_t)sizeof(real) > LONG_ROW;
    int packs_strip = in_stride * (int64_t)sizeof(real) > LONG_ROW;
    if (packs_delta) pack(rows, columns, delta, delta_stride, 1, memory.panels);
    for (int64_t strip = 0; strip < features; strip += FEATURES) {
        int64_t strip_end = minimum(strip + FEATURES, features), left_stride = in_stride;
        const real *left = in + strip;
        if (packs_strip) {
            left_stride = strip_end - strip;
            for (int64_t m = 0; m < rows; m++)
                memcpy(memory.strip + m * left_stride, in + m * in_stride + strip, left_stride * sizeof(real));
            left = memory.strip;
        }
        for (int64_t first = 0; first < columns; first += PANEL) {
            int vectors = vectors_of_panel(columns, first);
            const real *right = packs_delta ? memory.panels + first * rows : delta + first;
            int64_t right_stride = packs_delta ? vectors * LANES : delta_stride;
            for (int64_t f = strip, done; f < strip_end; f += done) {
                target into = {start, NULL, gradient + f * columns + first, columns, columns - first};
                done = some_rows(strip_end - f, vectors, rows, left + (f - strip), 1, left_stride, right, right_stride, &into);
            }
        }
    }
}

/* The upper triangle of gram (columns, columns) = or += rows^T rows, for rows (count, columns) that were packed into panels; what is
 * written below the diagonal is of no use.
 */
static void add_gram(int64_t count, int64_t columns, const real *rows, int64_t stride, const real *panels, real *gram, int add) {
    for (int64_t first = 0; first < columns; first += PANEL) {
        int vectors = vectors_of_panel(columns, first);
        int64_t last = minimum(columns, first + vectors * LANES);
        for (int64_t f = 0, done; f < last; f += done) {
            target into = {add ? FROM_RESULT : FROM_ZERO, NULL, gram + f * columns + first, columns, columns - first};
            done = some_rows(last - f, vectors, count, rows + f, 1, stride, panels + first * count, vectors * LANES, &into);
        }
    }
}

/* sums (columns,) = or += the column sums of delta. */
static void sum_columns(int64_t rows, int64_t columns, const real *delta, int64_t stride, real *sums, int add) {
    for (int64_t first = 0; first < columns; first += LANES) {
        int64_t width = minimum(columns - first, LANES);
        real rest[LANES] = {0};
        vec sum = {0};
        if (stride % LANES == 0) {
            for (int64_t m = 0; m < rows; m++) sum += load(delta + m * stride + first);
        } else {
            for (int64_t m = 0; m < rows; m++) rest[0] += delta[m * stride + first]; /* one column */
            sum = load(rest);
        }
        store(rest, sum);
        for (int64_t c = 0; c < width; c++) sums[first + c] = add ? sums[first + c] + rest[c] : rest[c];
    }
}

#endif
