// Memory, threads and instruction sets.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <new>
#include <string>
#include <tuple>
#include <vector>

#include "bind/operations.h"
#include "kernels.h"
#include "runtime/memory.h"
#include "runtime/parallel.h"
#include "runtime/processors.h"
#include "runtime/rhythm.h"
#include "runtime/streaming.h"

namespace nb = nanobind;

namespace softxent::bind {
namespace {

void give(void* data) noexcept { give_memory(data); }

// An array of bytes whose memory returns to the cache, or to the system, with the array.
nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>> empty(int64_t bytes, bool keep) {
  void* data = bytes < 0 ? nullptr : take_memory(bytes, keep);
  if (!data) throw std::bad_alloc();
  nb::capsule owner(data, give);
  return {data, {static_cast<size_t>(bytes)}, owner};
}

// For tests: which calls of a sequence use non-temporal stores. Each has so many rows, threads, and
// seconds: with these stores, and without.
std::vector<bool> alternating_stores(
    const std::vector<std::tuple<int64_t, int, double, double>>& calls) {
  AlternatingStores state;
  std::vector<bool> streamed;
  for (const auto& [rows, threads, seconds, otherwise] : calls) {
    const Call call{nullptr, rows, 1, threads};
    streamed.push_back(state.streams(call));
    state.record(call, streamed.back(), streamed.back() ? seconds : otherwise);
  }
  return streamed;
}

// For tests: whether each of these pauses, true for a short one, was expected to be short.
std::vector<bool> expected_pauses(const std::vector<bool>& pauses) {
  Rhythm rhythm;
  bool expected = false;
  std::vector<bool> all;
  for (const bool is_short : pauses) {
    all.push_back(expected);
    expected = rhythm.add(is_short);
  }
  return all;
}

}  // namespace

void bind_runtime(nb::module_& m) {
  using nb::arg;
  m.def("empty", &empty, arg("bytes"), arg("keep"));
  m.def("cached_memory", &cached_memory);
  m.def("release_memory", &release_memory);
  m.def("levels", [] {
    std::vector<std::string> names;
    for (const char* const* name = available_levels(); *name; ++name) names.emplace_back(*name);
    return names;
  });
  m.def("current_level", [] { return std::string(current_level()); });
  m.def("select_level", [](const std::string& name) { return select_level(name.c_str()); });
  m.def("processors_granted", &processors_granted, arg("root") = "");
  m.def("alternating_stores", &alternating_stores, arg("calls"));
  m.def("last_streamed", &last_streamed);
  m.def("pool_activity", [] {
    const PoolActivity activity = pool_activity();
    return std::make_tuple(activity.threads, activity.waits_awake, activity.sleeps);
  });
  m.def("expected_pauses", &expected_pauses, arg("pauses"));
  m.def("get_num_threads", &get_num_threads);
  m.def("set_num_threads", [](int count) {
    if (count < 1 || count > kMostThreads) throw nb::value_error("use 1 to 1024 threads");
    set_num_threads(count);
  });
}

}  // namespace softxent::bind
