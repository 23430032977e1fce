// Work in pieces on a small pool of threads that survives fork().
#pragma once

#include <cstdint>

namespace softxent {

// How many threads should share `count` items of `cost` elements each: 1 where the work is small.
int workers_for(int64_t count, int64_t cost);

// What is left of a job.
struct Work;

// One thread at a job, which is done in one step, two or three: in each, pieces cover [0, count)
// once. They come in any order, and their size is not fixed, so a result must not depend on how the
// range is cut. All workers take the same steps: whether there is another may only depend on what
// all read after the one before. Who comes when a step is over finds nothing left of it, and reads
// what it came to: what is read after a step must not be written in the next.
class Worker {
 public:
  Worker(Work& work, int id);
  int id() const;  // 0 is the caller

  // The next piece of this step, if there is one: of the worker's own share, then of others'.
  bool next(int64_t* begin, int64_t* end);
  // Whether it is of the own share.
  bool owns(int64_t item) const;

  // Ends this step, which need not be the last: waits until all of its pieces are done, whose
  // results may then be read.
  void join();

 private:
  Work& work_;
  const int id_;
  int step_ = 0;
  int64_t done_ = 0;
};

// Calls body(context, worker) in several threads, at most `workers` of them. The last `own` items
// of a share are left to the thread whose it is, if it has come: few where a thread has its share
// in its cache, else none. The body may not throw.
void parallel_for(int workers, int64_t count, int64_t own, void* context,
                  void (*body)(void*, Worker&));

int get_num_threads();
void set_num_threads(int count);  // >= 1

}  // namespace softxent
