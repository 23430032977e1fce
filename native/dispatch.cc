// Chooses the kernels of the best instruction set that this processor has, unless one is named.
#include <atomic>
#include <cstring>

#include "levels.h"
#ifdef SOFTXENT_X86_64_LEVELS
#include <cpuid.h>
#endif

namespace softxent {
namespace {

#ifdef SOFTXENT_X86_64_LEVELS
// The features of the levels one by one, because __builtin_cpu_supports doesn't know the levels in
// GCC 11 and Clang 16. It says whether the operating system saves the wide registers, too. MOVBE,
// F16C and LZCNT, which it doesn't know in Clang 14, need no other registers than AVX2.
bool runs_x86_64_v3() {
  constexpr unsigned kMovbeAndF16c = 1u << 22 | 1u << 29, kLzcnt = 1u << 5;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & kMovbeAndF16c) != kMovbeAndF16c) return false;
  if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || (c & kLzcnt) == 0) return false;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool runs_x86_64_v4() {
  return runs_x86_64_v3() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

struct Level {
  const char* name;
  bool (*runs_here)();
  Kernels kernels;
};

#define SOFTXENT_LEVEL_ENTRY(name, level, runs_here)                                            \
  Level {                                                                                       \
    name, runs_here, {                                                                          \
      level::softmax, level::softmax_gradient, level::logsumexp, level::cross_entropy,          \
          level::cross_entropy_gradient, level::cross_entropy_statistics, level::check_targets, \
          level::sum, level::binary_cross_entropy                                               \
    }                                                                                           \
  }

const Level kLevels[] = {
#ifdef SOFTXENT_X86_64_LEVELS
    SOFTXENT_LEVEL_ENTRY("x86-64-v4", x86_64_v4, runs_x86_64_v4),
    SOFTXENT_LEVEL_ENTRY("x86-64-v3", x86_64_v3, runs_x86_64_v3),
#endif
    SOFTXENT_LEVEL_ENTRY("baseline", baseline, [] { return true; }),
};
constexpr int kCount = sizeof(kLevels) / sizeof(kLevels[0]);

const Level* best() {
  for (const Level& level : kLevels) {
    if (level.runs_here()) return &level;
  }
  return &kLevels[kCount - 1];
}

std::atomic<const Level*>& current() {
  static std::atomic<const Level*> level{best()};
  return level;
}

}  // namespace

const Kernels& kernels() { return current().load()->kernels; }

const char* const* available_levels() {
  struct Names {
    const char* at[kCount + 1] = {};

    Names() {
      int n = 0;
      for (const Level& level : kLevels) {
        if (level.runs_here()) at[n++] = level.name;
      }
    }
  };
  static const Names names;
  return names.at;
}

const char* current_level() { return current().load()->name; }

bool select_level(const char* name) {
  for (const Level& level : kLevels) {
    if (std::strcmp(level.name, name) == 0 && level.runs_here()) {
      current().store(&level);
      return true;
    }
  }
  return false;
}

}  // namespace softxent
