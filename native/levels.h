// The namespace of one instruction set: each operation's file is compiled once for each of them.
//
// Kernel files include no header with inline functions that could be emitted out of line: the
// linker would keep one copy for all, and it could be one that this processor can't run. What they
// share is in unnamed namespaces.
#pragma once

#include "kernels.h"

#define SOFTXENT_DECLARE_LEVEL(level)                   \
  namespace softxent {                                  \
  namespace level {                                     \
  void softmax(const SoftmaxTask&);                     \
  void logsumexp(const LogSumExpTask&);                 \
  double cross_entropy(const CrossEntropyTask&);        \
  void cross_entropy_gradient(const CrossEntropyTask&); \
  void gradient_of_difference(const CrossEntropyTask&); \
  void cross_entropy_stats(const StatsTask&);           \
  Targets targets_of(const CrossEntropyTask&);          \
  double sum(const double*, int64_t);                   \
  void binary_cross_entropy(const BinaryTask&);         \
  }                                                     \
  }

SOFTXENT_DECLARE_LEVEL(baseline)
#ifdef SOFTXENT_X86_64_LEVELS
SOFTXENT_DECLARE_LEVEL(x86_64_v3)
SOFTXENT_DECLARE_LEVEL(x86_64_v4)
#endif
#ifdef SOFTXENT_LEVEL
SOFTXENT_DECLARE_LEVEL(SOFTXENT_LEVEL)
#endif
