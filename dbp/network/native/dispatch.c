/* Which instructions this machine has: 0 portable, 1 AVX2 with FMA, 2 AVX-512 (F, DQ, BW, VL); asked of the processor itself. */
#if defined(__x86_64__)
#include <cpuid.h>

static unsigned long long enabled_by_the_system(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((unsigned long long)high << 32) | low;
}

static int has(unsigned word, int bit) { return word >> bit & 1; }

static int instructions(void) {
    unsigned a, b, c, d, features_b;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    int fma = has(c, 12), saves_vectors = has(c, 27);
    if (!fma || !saves_vectors || !__get_cpuid_count(7, 0, &a, &features_b, &c, &d)) return 0;
    unsigned long long enabled = enabled_by_the_system();
    int avx2 = has(features_b, 5) && (enabled & 0x6) == 0x6;
    int avx512 = has(features_b, 16) && has(features_b, 17) && has(features_b, 30) && has(features_b, 31) &&
                 (enabled & 0xe6) == 0xe6;
    return avx2 ? (avx512 ? 2 : 1) : 0;
}
#else
static int instructions(void) { return 0; }
#endif

__attribute__((visibility("default"))) int dbp_instructions(void) { return instructions(); }
