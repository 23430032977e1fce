// Work in pieces on a small pool of threads that survives fork().
#pragma once

#include <cstdint>

namespace softxent {

// How many threads should share `count` items of `cost` elements each: 1 where the work is small.
int workers_for(int64_t count, int64_t cost);

// What is left of a job.
struct Work;

// Calls body(context, worker, work) in several threads, at most `workers` of them, each with a
// number of its own, 0 <= worker < workers; each asks for one piece of the work after another.
// Pieces cover [0, count) once, come in any order, and their size is not fixed, so a result must
// not depend on how the range is cut. The body may not throw.
void parallel_for(int workers, int64_t count, void* context,
                  void (*body)(void* context, int worker, Work& work));

// The next piece, if there is one.
bool next_piece(Work& work, int worker, int64_t* begin, int64_t* end);

int get_num_threads();
void set_num_threads(int count);  // >= 1

}  // namespace softxent
