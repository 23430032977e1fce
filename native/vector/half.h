// float16 and bfloat16: conversions of single numbers, and the portable conversions of vectors.
//
// Processors convert float16 with one instruction (F16C, AVX-512, NEON). bfloat16 is the upper half
// of a float: reading it is a shift, and writing it rounds to nearest, ties to even.
#pragma once

#include "vector/types.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

struct Float16 {
  uint16_t bits;

  static float decode(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, magnitude = h & 0x7fff;
    // Shifting the bits makes the number 2^112 times too small. A multiplication corrects that, for
    // subnormal numbers too; infinity and NaN get their exponent back afterwards.
    const uint32_t shifted = magnitude << 13;
    float value;
    __builtin_memcpy(&value, &shifted, 4);
    value *= 0x1p112f;
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    bits |= magnitude >= 0x7c00 ? 0x7f800000u : 0u;
    bits |= sign;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  }
  static uint16_t encode(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
    // Normal numbers: round to nearest even at bit 13. Below 2^-14, adding 0.5 makes the hardware
    // round at the last bit of a subnormal number, 2^-24.
    const uint32_t normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    float small;
    __builtin_memcpy(&small, &magnitude, 4);
    small += 0.5f;
    uint32_t subnormal;
    __builtin_memcpy(&subnormal, &small, 4);
    subnormal -= 126u << 23;
    const uint32_t finite = magnitude < (113u << 23) ? subnormal : normal;
    const uint32_t infinite = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;
    return static_cast<uint16_t>(sign | (magnitude >= 0x477ff000 ? infinite : finite));
  }

  static V<float> widen_portably(HalfVector v) {
    V<float> wide;
    float lanes[kLanes<float>];
    for (int k = 0; k < kLanes<float>; ++k) lanes[k] = decode(v[k]);
    __builtin_memcpy(&wide, lanes, sizeof wide);
    return wide;
  }
  static HalfVector narrow_portably(V<float> v) {
    HalfVector bits;
    for (int k = 0; k < kLanes<float>; ++k) bits[k] = encode(v[k]);
    return bits;
  }
};

struct Bfloat16 {
  uint16_t bits;

  static float decode(uint16_t h) {
    const uint32_t bits = static_cast<uint32_t>(h) << 16;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  }
  static uint16_t encode(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
  }

  static V<float> widen_portably(HalfVector v) {
    const Vector<float>::bits wide = __builtin_convertvector(v, Vector<float>::bits) << 16;
    V<float> value;
    __builtin_memcpy(&value, &wide, sizeof value);
    return value;
  }
  // The upper halves of the rounded numbers, each in a lane of 32 bits.
  static Vector<float>::bits rounded_bits(V<float> v) {
    Vector<float>::bits bits;
    __builtin_memcpy(&bits, &v, sizeof bits);
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  }
  static HalfVector narrow_portably(V<float> v) {
    return __builtin_convertvector(rounded_bits(v), HalfVector);
  }
};

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
