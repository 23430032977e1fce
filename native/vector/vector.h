// The vector interface: what the kernels use instead of intrinsics.
//
//   types.h    the vector types of each instruction set
//   half.h     float16 and bfloat16 numbers, one at a time and portably
//   generic.h  every function of the interface, in portable C++
//   avx512.h, avx2.h, sse2.h, neon.h
//              one file for each instruction set: definitions of the functions that generic.h only
//              declares, and specialisations where the portable code is slow
//
// A port to another instruction set adds its vector length to types.h and a file beside these. It
// must define both multiply_add, sum_of_lanes, stream_store and stream_fence; everything else it
// may specialise once it is measured to be worth it.
#pragma once

#include "vector/generic.h"

#if defined(SOFTXENT_AVX512)
#include "vector/avx512.h"
#elif defined(SOFTXENT_AVX2)
#include "vector/avx2.h"
#elif defined(SOFTXENT_NEON)
#include "vector/neon.h"
#else
#include "vector/sse2.h"
#endif
