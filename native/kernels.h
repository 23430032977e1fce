// The contract of the kernels. They know neither Python nor any tensor library: raw pointers,
// sizes, strides. They validate nothing: the caller has checked every class index, every shape and
// every pointer.
//
// A "row" is one softmax: `classes` logits. The rows of an array are its batch dimensions in C
// order, each with a stride of its own; the classes of a row lie `class_stride` elements apart. So
// any class axis of any strided view is read where it lies. Vectors with one number a row or one a
// class are contiguous.
//
// Each row's result has bits that depend on that row alone, whatever the number of threads,
// whatever rows stand beside it and however it is aligned. An output may be the very elements of
// its input (same pointer, same strides) and may not overlap it otherwise.
//
// float16 and bfloat16 are read and written as such and computed in float.
#pragma once

#include <cstdint>

namespace softxent {

enum class Type { kFloat32, kFloat64, kFloat16, kBfloat16 };

constexpr int kMaxBatchDims = 8;

struct Array {
  void* data;  // null for "not given"; inputs are only read
  Type type;
  int64_t class_stride;
  int64_t batch_stride[kMaxBatchDims];
};

struct Shape {
  int64_t rows, classes;
  int batch_dims;  // at least 1
  int64_t batch[kMaxBatchDims];
};

// softmax:      out_j = exp(x_j - lse)
// log_softmax:  out_j = x_j - lse
struct SoftmaxTask {
  Shape shape;
  Array x, out;  // of one type
  bool log;
};

struct LogSumExpTask {
  Shape shape;
  Array x;
  double* out;  // (rows); for float and half types good to their last digits, no further
};

// With t the target mass of the row, s its sum, u = softcap tanh(z / (temperature softcap)):
//
//   loss   = s lse - sum_j t_j u_j + z_loss lse^2
//   grad_j = upstream ((s + 2 z_loss lse) p_j - t_j) du_j/dz_j
//
// The gradient needs two numbers of the forward pass, one of the row's u, `base`, and its `ratio`,
// the sum of exp(u_j - base) over all other j: lse = base + log1p(ratio). Unlike lse alone they
// still hold 1 - p of the base where that p rounds to 1. It is the maximum, or where few logits lie
// within Near's range the target's, whose loss then is log1p(ratio) alone.
struct Summary {
  double base, ratio;  // NaN where the row has no loss
};

struct CrossEntropyTask {
  Shape shape;
  Array logits;
  const int64_t* index;  // (rows) class indices, or null where the target is a mass
  Array probabilities;   // of the logits' shape, of any type
  const void* weight;    // (classes), or null for ones; double for float64 logits, else float
  int64_t ignore_index;  // with index only
  double label_smoothing, z_loss;
  double softcap;          // 0 for none
  double temperature;      // > 0
  double* loss;            // (rows), or null
  Summary* summary;        // (rows), or null: written by cross_entropy, read by its gradient
  bool from_maximum;       // the summary is to begin with the maximum: all digits of lse are wanted
  const double* upstream;  // (rows), or null for ones
  double scale;            // of the gradient, times upstream
  Array grad;              // as the logits in shape and type
};

// Of a batch's targets: whether each is a class or ignored, and what a mean divides by, the kept
// targets' weight, or their number.
struct Targets {
  bool valid;
  double denominator;
};

// The loss with what else a row can say: its entropy, -sum_j p_j log p_j; the class with the
// largest logit; and whether the target (the likeliest class of a mass) is among the k largest. The
// first among equals comes first, a NaN before any number. An ignored row gives 0, -1 and false.
struct StatsTask {
  CrossEntropyTask loss;  // with loss and summary, without grad
  int64_t k;
  double* entropy;  // (rows)
  int64_t* argmax;  // (rows)
  bool* hits;       // (rows)
};

// Adjacent elements, each a loss of its own: see binary.cc. Arrays other than logits and target may
// be null; those that are read may be of any type.
constexpr int64_t kBinaryBlock = 512;

// What a block of so many elements comes to.
struct BinarySum {
  double loss;
  bool outside;  // some target isn't in [0, 1]
};

struct BinaryTask {
  int64_t count;
  Array logits, target, positive_weight, weight;
  Array loss;
  BinarySum* sums;  // (blocks), or null where only the gradient is wanted
  Array upstream;
  double scale;  // of the gradient, times upstream
  Array grad;
};

// One instruction set's kernels.
struct Kernels {
  void (*softmax)(const SoftmaxTask&);
  void (*logsumexp)(const LogSumExpTask&);
  // Loss, summary and grad as asked for; returns the sum of the losses, which doesn't drift.
  double (*cross_entropy)(const CrossEntropyTask&);
  void (*cross_entropy_gradient)(const CrossEntropyTask&);  // grad, from the summary
  void (*cross_entropy_stats)(const StatsTask&);
  Targets (*targets_of)(const CrossEntropyTask&);  // reads index, weight, shape and logits.type
  double (*sum)(const double*, int64_t);           // doesn't drift, however many there are
  void (*binary_cross_entropy)(const BinaryTask&);
};

// The best instruction set that both this build and this processor have, or the one that
// select_level named.
const Kernels& kernels();

// Names of the instruction sets that can run here, best first, null-terminated.
const char* const* available_levels();
const char* current_level();
bool select_level(const char* name);  // false where it can't run here

}  // namespace softxent
