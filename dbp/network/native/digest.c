/* A digest of bytes, to tell whether two vectors have the same bits: 64 bits, quick, and no protection against a forger.
 *
 * Eight chains take turns at the 8-byte words, read as little-endian numbers. A chain's step, h = rotate(h ^ word) * odd, can be undone:
 * from one h, two words lead to two h, and from two h, one word leads to two. So what is changed within one word (a flipped bit, a
 * number of another value) always changes the digest; any other change does but for one in 2^64. The end folds the chains and the number
 * of bytes in the same way. The bytes of the last, incomplete round are followed by zeros. */
#include <stdint.h>
#include <string.h>

#define CHAINS 8
#define ROUND_BYTES (8 * CHAINS)

static uint64_t rotate(uint64_t word, int bits) { return word << bits | word >> (64 - bits); }

static uint64_t stir(uint64_t h, uint64_t word) { return rotate(h ^ word, 29) * UINT64_C(0x9e3779b97f4a7c15); }

static uint64_t word_at(const unsigned char *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static void take_round(uint64_t *chain, const unsigned char *bytes) {
    for (int c = 0; c < CHAINS; c++) chain[c] = stir(chain[c], word_at(bytes + 8 * c));
}

__attribute__((visibility("default"))) uint64_t dbp_digest(int64_t count, const unsigned char *bytes) {
    uint64_t chain[CHAINS], h = (uint64_t)count;
    for (int c = 0; c < CHAINS; c++) chain[c] = stir(h, (uint64_t)c + 1);
    int64_t from = 0;
    for (; from + ROUND_BYTES <= count; from += ROUND_BYTES) take_round(chain, bytes + from);
    if (from < count) {
        unsigned char rest[ROUND_BYTES] = {0};
        memcpy(rest, bytes + from, (size_t)(count - from));
        take_round(chain, rest);
    }
    for (int c = 0; c < CHAINS; c++) {
        h = stir(h, chain[c]);
        h ^= h >> 32; /* high bits reach the low ones, too */
    }
    h = stir(h, 0);
    return h ^ h >> 32;
}
