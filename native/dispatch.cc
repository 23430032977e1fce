// Chooses the kernels of the best instruction set that this processor has, unless one is named.
#include <atomic>
#include <cstring>

#include "levels.h"

namespace softxent {
namespace {

struct Level {
  const char* name;
  bool (*runs_here)();
  Kernels kernels;
};

#define SOFTXENT_LEVEL_ENTRY(name, level, runs_here)                                         \
  Level {                                                                                    \
    name, runs_here, {                                                                       \
      level::softmax, level::logsumexp, level::cross_entropy, level::cross_entropy_gradient, \
          level::cross_entropy_statistics, level::check_targets, level::sum,                 \
          level::binary_cross_entropy                                                        \
    }                                                                                        \
  }

const Level kLevels[] = {
#ifdef SOFTXENT_X86_64_LEVELS
    SOFTXENT_LEVEL_ENTRY("x86-64-v4", x86_64_v4,
                         [] { return __builtin_cpu_supports("x86-64-v4") != 0; }),
    SOFTXENT_LEVEL_ENTRY("x86-64-v3", x86_64_v3,
                         [] { return __builtin_cpu_supports("x86-64-v3") != 0; }),
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
  static const char* names[kCount + 1];
  int n = 0;
  for (const Level& level : kLevels) {
    if (level.runs_here()) names[n++] = level.name;
  }
  names[n] = nullptr;
  return names;
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
