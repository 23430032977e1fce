// The floating-point state of the calling thread during a kernel.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace softxent {

// While one exists, the thread rounds to nearest, keeps subnormal numbers and raises no exceptions.
// A caller may have chosen otherwise, as torch.set_flush_denormal does, for this thread alone: the
// bits of a result would depend on which thread computed it. Threads of the pool are created while
// one exists and inherit its state. The caller's state, with its exception flags, comes back.
class DefaultFloatingPoint {
 public:
  DefaultFloatingPoint() : saved_(read()) { write(kDefault); }
  ~DefaultFloatingPoint() { write(saved_); }
  DefaultFloatingPoint(const DefaultFloatingPoint&) = delete;
  void operator=(const DefaultFloatingPoint&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint32_t kDefault = 0x1f80;  // all exceptions are masked
  static uint32_t read() { return _mm_getcsr(); }
  static void write(uint32_t state) { _mm_setcsr(state); }
  const uint32_t saved_;
#elif defined(__aarch64__)
  static constexpr uint64_t kDefault = 0;
  static uint64_t read() {
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    return state;
  }
  static void write(uint64_t state) { __asm__ volatile("msr fpcr, %0" : : "r"(state)); }
  const uint64_t saved_;
#else
  static constexpr int kDefault = 0;  // no such state is known here
  static int read() { return 0; }
  static void write(int) {}
  const int saved_;
#endif
};

}  // namespace softxent
