// The namespaces of the instruction sets. Each file in operations/ is compiled once for each of
// them.
//
// Everything that those files share is in unnamed namespaces. An inline function with external
// linkage could be emitted by every one of them; the linker would keep a single copy for all,
// perhaps one that this processor can't run.
#pragma once

#include "kernels.h"

#define SOFTXENT_DECLARE_LEVEL(level)                      \
  namespace softxent {                                     \
  namespace level {                                        \
  void softmax(const SoftmaxTask&);                        \
  void softmax_gradient(const SoftmaxGradientTask&);       \
  void logsumexp(const LogSumExpTask&);                    \
  double cross_entropy(const CrossEntropyTask&);           \
  void cross_entropy_gradient(const CrossEntropyTask&);    \
  void gradient_in_double_double(const CrossEntropyTask&); \
  void cross_entropy_statistics(const StatisticsTask&);    \
  TargetCheck check_targets(const CrossEntropyTask&);      \
  double sum(const double*, int64_t);                      \
  void binary_cross_entropy(const BinaryTask&);            \
  }                                                        \
  }

SOFTXENT_DECLARE_LEVEL(baseline)
#ifdef SOFTXENT_X86_64_LEVELS
SOFTXENT_DECLARE_LEVEL(x86_64_v3)
SOFTXENT_DECLARE_LEVEL(x86_64_v4)
#endif
#ifdef SOFTXENT_LEVEL
SOFTXENT_DECLARE_LEVEL(SOFTXENT_LEVEL)
#endif
