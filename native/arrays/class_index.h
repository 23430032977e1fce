// The class indices of a batch, as addresses of memory.
//
// check_targets has seen that they are valid, but another thread may overwrite them at any time
// after that. So a number that addresses memory is read once and then brought into [0, classes): an
// index that changes makes a result wrong and nothing else.
#pragma once

#include <stdint.h>

#include "kernels.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// An index that the compiler keeps: it may not read it again.
inline int64_t read_once(const int64_t* index) { return __atomic_load_n(index, __ATOMIC_RELAXED); }

// A class in any case.
inline int64_t within(int64_t y, int64_t classes) {
  return static_cast<uint64_t>(y) < static_cast<uint64_t>(classes) ? y : 0;
}

// The class of a row that isn't ignored.
inline int64_t class_of(const CrossEntropyTask& task, int64_t row) {
  return within(read_once(task.index + row), task.shape.classes);
}

inline bool is_ignored(const CrossEntropyTask& task, int64_t row) {
  return task.index && read_once(task.index + row) == task.ignore_index;
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
