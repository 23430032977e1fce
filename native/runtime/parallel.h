// Shares work between a small pool of threads that survives fork().
#pragma once

#include <cstdint>

namespace softxent {

constexpr int kMostThreads = 1024;

// How many threads should share `count` items of `cost` elements each: 1 where the work is small.
int workers_for(int64_t count, int64_t cost);

// The remaining work of a job.
struct Work;

// One thread of a job. A job has one to three steps, and in each step pieces cover [0, count) once.
// Pieces come in any order and size, so a result must not depend on how the range is cut. All
// workers take the same steps; whether there is another one may only depend on data that all of
// them read after the previous step. A worker that arrives when a step is over finds no pieces left
// and reads the step's results, so these must not be written in the next step.
class Worker {
 public:
  Worker(Work& work, int id);
  int id() const;  // 0 is the caller

  // The next piece of this step, if there is one: from the worker's own share first, then from the
  // others'.
  bool next(int64_t* begin, int64_t* end);
  // Whether an item belongs to the worker's own share.
  bool owns(int64_t item) const;

  // Ends this step: waits until all of its pieces are done, so that their results may be read.
  void join();

 private:
  Work& work_;
  const int id_;
  int step_ = 0;
  int64_t done_ = 0;
};

// A job of `count` items of `cost` elements each.
struct Job {
  int64_t count, cost;
  // The last `own` items of each share are left to their thread if it has arrived: few where a
  // thread has its share in its cache, else none.
  int64_t own;
  void* context;
  void (*body)(void*, Worker&);  // may not throw
};

// Calls body(context, worker) in at most `workers` threads: in the calling thread alone where the
// system gives no others, where they compute something else, where waking them would take longer
// than the work, and inside of another job.
void parallel_for(int workers, const Job& job);

int get_num_threads();            // of the calling thread: see ThreadLimit
void set_num_threads(int count);  // 1 to kMostThreads

// While it exists, jobs of the calling thread have at most this many threads; 0 is no limit.
class ThreadLimit {
 public:
  explicit ThreadLimit(int count);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  void operator=(const ThreadLimit&) = delete;

 private:
  const int before_;
};

// For tests: how many threads the pool has made, how often one has waited for the next job awake,
// and how often one has gone to sleep.
struct PoolActivity {
  int threads;
  int64_t waits_awake, sleeps;
};
PoolActivity pool_activity();

}  // namespace softxent
