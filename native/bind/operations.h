// What each file of this folder adds to the Python module.
#pragma once

#include <nanobind/nanobind.h>

namespace softxent::bind {

void bind_softmax(nanobind::module_& m);
void bind_cross_entropy(nanobind::module_& m);
void bind_binary_cross_entropy(nanobind::module_& m);
void bind_runtime(nanobind::module_& m);

}  // namespace softxent::bind
