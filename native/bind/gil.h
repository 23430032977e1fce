// The interpreter's lock, released while kernels compute.
#pragma once

#include <Python.h>

namespace softxent::bind {

// Like nb::gil_scoped_release, for threads that may outlive the interpreter. A daemon thread that
// asks for the lock while the interpreter exits doesn't get it: before Python 3.14 it is ended by
// unwinding its stack, which C++ frames without the means for that turn into the end of the process
// by std::terminate. Here it waits instead, as in Python 3.14, until the process ends.
class WithoutGil {
 public:
  explicit WithoutGil(bool release = true) : thread_(release ? PyEval_SaveThread() : nullptr) {}
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  void operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* const thread_;
};

}  // namespace softxent::bind
