// The vector types of the instruction set that a file is compiled for: the compiler's own, so that
// arithmetic on them is written with plain C++ operators.
#pragma once

#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "levels.h"

// For functions called in the hottest loops: where there are many calls, the compiler would not
// inline them by itself.
#define SOFTXENT_INLINE __attribute__((always_inline))

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#define SOFTXENT_AVX512
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define SOFTXENT_AVX2
#elif defined(__aarch64__)
#define SOFTXENT_NEON
#endif

// For a loop that needs every register where there are only sixteen: inlined, its constants would
// compete with those of its caller.
#if defined(SOFTXENT_AVX512) || defined(SOFTXENT_NEON)
#define SOFTXENT_OUT_OF_LINE inline
#else
#define SOFTXENT_OUT_OF_LINE __attribute__((noinline))
#endif

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

#if defined(SOFTXENT_AVX512)
constexpr int kVectorBytes = 64;
constexpr bool kHasFusedMultiplyAdd = true;
#elif defined(SOFTXENT_AVX2)
constexpr int kVectorBytes = 32;
constexpr bool kHasFusedMultiplyAdd = true;
#elif defined(SOFTXENT_NEON)
constexpr int kVectorBytes = 16;
constexpr bool kHasFusedMultiplyAdd = true;
#else
constexpr int kVectorBytes = 16;
constexpr bool kHasFusedMultiplyAdd = false;
#endif

template <class T>
struct Vector;
template <>
struct Vector<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef int32_t mask __attribute__((vector_size(kVectorBytes)));
  typedef int32_t index;
  typedef uint32_t bits __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Vector<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef int64_t mask __attribute__((vector_size(kVectorBytes)));
  typedef int64_t index;
  typedef uint64_t bits __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Vector<uint16_t> {  // the bits of float16 or bfloat16 numbers
  typedef uint16_t type __attribute__((vector_size(kVectorBytes)));
  typedef int16_t mask __attribute__((vector_size(kVectorBytes)));
  typedef int16_t index;
};
template <>
struct Vector<int16_t> {
  typedef int16_t type __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using V = typename Vector<T>::type;
template <class T>
using Mask = typename Vector<T>::mask;  // lanes of 0 or -1; also lanes of any integers
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

// A sum is added in this many slots: number k goes to slot k % kSlots. Shorter vectors than AVX2's
// fill the same slots, so that the order of the additions is the same. Measured: with the slots of
// AVX-512 on AVX2, a softmax of 1000 classes takes 6 to 10 % longer, one of 200 classes 15 %.
template <class T>
constexpr int kSlots = (kVectorBytes > 32 ? kVectorBytes : 32) / static_cast<int>(sizeof(T));
template <class T>
constexpr int kSlotVectors = kSlots<T> / kLanes<T>;

// As many 16-bit numbers as a vector has floats: half as many bytes.
typedef uint16_t HalfVector __attribute__((vector_size(kVectorBytes / 2)));

// How many V<double> the numbers of one V<T> fill.
template <class T>
constexpr int kParts = static_cast<int>(sizeof(double) / sizeof(T));

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
