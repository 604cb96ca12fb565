/* Which instructions this machine has: 0 portable, 1 AVX2 with FMA, 2 AVX-512. */
__attribute__((visibility("default"))) int dbp_instructions(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    return avx2 ? (avx512 ? 2 : 1) : 0;
#else
    return 0;
#endif
}
