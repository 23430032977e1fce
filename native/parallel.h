// Rows in parallel on a small pool of threads that survives fork().
#pragma once

#include <cstdint>
#include <functional>

namespace softxent {

// Calls body(begin, end) for pieces that cover [0, count) once each. `cost` is a rough number of
// elements of work for one item; small work stays on the calling thread. Pieces may run in any
// order, so a body's result must not depend on how the range is cut.
void parallel_for(int64_t count, int64_t cost, const std::function<void(int64_t, int64_t)>& body);

int get_num_threads();
void set_num_threads(int count);  // >= 1

}  // namespace softxent
