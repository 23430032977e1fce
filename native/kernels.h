// The contract between the kernels and whoever calls them: raw pointers, sizes, strides.
//
// The kernels know neither Python nor torch. They validate nothing: the caller has checked every
// class index, every shape and every pointer. Each row's result depends on that row alone, whatever
// the number of threads and whatever rows stand beside it.
//
// Rows are `stride` elements apart; the classes of a row are next to each other. T is float or
// double. An output may be the very buffer of its input (same pointer, same stride) and may not
// overlap it otherwise.
#pragma once

#include <cstdint>

namespace softxent {

template <class T>
struct Matrix {
  T* data;
  int64_t stride;

  T* row(int64_t i) const { return data + i * stride; }
};

enum class Softmax { kProbabilities, kLogProbabilities };

template <class T>
struct SoftmaxTask {
  int64_t rows, classes;
  Matrix<const T> x;
  Matrix<T> out;
  Softmax kind;
};

template <class T>
struct LogSumExpTask {
  int64_t rows, classes;
  Matrix<const T> x;
  T* out;  // (rows)
};

// loss_i = s lse - sum_j t_j u_j + z_loss lse^2,   u = softcap tanh(z / (temperature softcap))
// grad   = scale_i ((s + 2 z_loss lse) p_j - t_j) du_j/dz_j
template <class T>
struct CrossEntropyTask {
  int64_t rows, classes;
  Matrix<const T> logits;
  const int64_t* index;           // (rows) class indices, or null where the target is a mass
  Matrix<const T> probabilities;  // (rows, classes), or null data
  const T* weight;                // (classes), or null for ones
  int64_t ignore_index;           // with index only
  double label_smoothing, z_loss;
  double softcap;  // 0 for none
  double temperature;
  double* loss;     // (rows), or null
  double scale;     // of the gradient: the upstream gradient over the denominator
  Matrix<T> grad;   // (rows, classes), or null data
};

// One instruction set's kernels. Each works on rows [begin, end).
template <class T>
struct Kernels {
  void (*softmax)(const SoftmaxTask<T>&, int64_t begin, int64_t end);
  void (*logsumexp)(const LogSumExpTask<T>&, int64_t begin, int64_t end);
  void (*cross_entropy)(const CrossEntropyTask<T>&, int64_t begin, int64_t end);
};

// The best instruction set that both this build and this processor have, or the one that
// select_level named.
template <class T>
const Kernels<T>& kernels();

// Names of the instruction sets that can run here, best first, null-terminated.
const char* const* available_levels();
const char* current_level();
bool select_level(const char* name);  // false where it can't run here

}  // namespace softxent
