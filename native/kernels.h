// The contract of the kernels. They know neither Python nor any tensor library, only raw pointers,
// sizes and strides. They validate nothing: the caller has checked every class index, every shape
// and every pointer.
//
// A row is one softmax: `classes` logits. The rows of an array are its batch dimensions in C order,
// each with a stride of its own; the classes of a row lie `class_stride` elements apart. So any
// class axis of any strided view is read in place. Vectors with one number per row or one per class
// are contiguous.
//
// The bits of a row's result depend on that row alone: not on the number of threads, the other rows
// or the alignment. An output may be exactly its input (same pointer, same strides); otherwise it
// may not overlap it.
//
// Another thread may write to any array during a call. The result is then wrong, but no kernel
// accesses memory outside the arrays, and every call ends: see arrays/class_index.h.
//
// float16 and bfloat16 are read and written as such and computed in float.
#pragma once

#include <cstdint>

namespace softxent {

enum class Type { kFloat32, kFloat64, kFloat16, kBfloat16 };

constexpr int kMaxBatchDims = 8;

struct Array {
  void* data;  // null where it isn't given; inputs are only read
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
  Array x, out;  // of the same type
  bool log;
};

// The gradient with respect to x of sum_j g_j softmax(x)_j, or of sum_j g_j log_softmax(x)_j.
struct SoftmaxGradientTask {
  Shape shape;
  Array saved;          // x; or the result of the softmax where from_result is set
  Array upstream, out;  // g and the gradient, of the same type; out may be one of the others
  bool log, from_result;
};

struct LogSumExpTask {
  Shape shape;
  Array x;
  double* out;  // (rows); for float and half types exact to the last digits of a float
};

// With the target distribution t, its sum s and u = softcap tanh(z / (temperature softcap)):
//
//  loss   = s lse - sum_j t_j u_j + z_loss lse^2
//  grad_j = upstream ((s + 2 z_loss lse) p_j - t_j) du_j/dz_j
//
// A mean divides the sum of the losses by the summed weight W of the kept targets, but averages the
// z terms over the K kept rows: its caller multiplies z_loss by W / K.
//
// The gradient needs two saved statistics of the forward pass: `base`, which is one of the row's u,
// and `tail_sum`, the sum of exp(u_j - base) over all other j. lse = base + log1p(tail_sum). Unlike
// lse alone, they still determine 1 - p of the base class where that p rounds to 1. The base is the
// maximum, and tail_sum then is sumexp - 1. For few classes whose logits are all near 0 the base is
// the target's logit, whose loss then is log1p(tail_sum).
struct SavedStatistics {
  double base, tail_sum;  // NaN where the row has no loss
};

struct CrossEntropyTask {
  Shape shape;
  Array logits;
  const int64_t* index;  // (rows) class indices, or null where `probabilities` is given
  Array probabilities;   // of the logits' shape; of any type
  const void* weight;    // (classes), or null for ones; double for float64 logits, else float
  int64_t ignore_index;  // with index only
  double label_smoothing, z_loss;
  double z_loss_low;       // what z_loss lacks of the exact product z_loss W / K of a mean
  double softcap;          // 0 for none
  double temperature;      // > 0
  double* loss;            // (rows), or null
  SavedStatistics* saved;  // (rows), or null: written by cross_entropy, read by its gradient
  bool from_maximum;       // the base must be the maximum, so that lse has all its digits
  const double* upstream;  // (rows), or null for ones
  double scale;            // multiplies the gradient, as upstream does
  Array grad;              // as the logits in shape and type
};

// What check_targets finds in a batch: whether every target is a class or ignored, how many are
// kept, and what a mean divides by, which is the sum of the kept targets' weights or their number.
struct TargetCheck {
  bool valid;
  int64_t kept;
  double denominator;
};

// The loss with statistics of the row: its entropy, -sum_j p_j log p_j; the class with the largest
// logit; and whether the target (the most probable class of a soft target) is among the k largest.
// Equal logits are ordered by class; NaN is larger than any number. An ignored row gives 0, -1 and
// false.
struct StatisticsTask {
  CrossEntropyTask loss;  // with loss and saved, without grad
  int64_t k;
  double* entropy;  // (rows)
  int64_t* argmax;  // (rows)
  bool* hits;       // (rows)
};

// Contiguous elements, each a loss of its own: see operations/binary_cross_entropy.cc. Arrays other
// than logits and target may be null; inputs may be of any type.
constexpr int64_t kBinaryBlock = 512;

// The sum over a block of kBinaryBlock elements.
struct BinarySum {
  double loss;
  bool outside;  // some target is outside [0, 1] by more than rounding
};

struct BinaryTask {
  int64_t count;
  Array logits, target, positive_weight, weight;
  Array loss;
  BinarySum* sums;  // (blocks), or null for the gradient alone
  Array upstream;
  double scale;  // multiplies the gradient, as upstream does
  Array grad;
};

// The kernels of one instruction set.
struct Kernels {
  void (*softmax)(const SoftmaxTask&);
  void (*softmax_gradient)(const SoftmaxGradientTask&);
  void (*logsumexp)(const LogSumExpTask&);
  // Writes loss, saved and grad where given. Returns the sum of the losses, compensated.
  double (*cross_entropy)(const CrossEntropyTask&);
  void (*cross_entropy_gradient)(const CrossEntropyTask&);  // grad, from saved
  void (*cross_entropy_statistics)(const StatisticsTask&);
  TargetCheck (*check_targets)(
      const CrossEntropyTask&);           // reads index, weight, shape and logits.type
  double (*sum)(const double*, int64_t);  // compensated
  void (*binary_cross_entropy)(const BinaryTask&);
};

// The kernels of the best instruction set that this build and this processor have, or of the one
// that select_level named.
const Kernels& kernels();

// Names of the instruction sets that this processor can run, best first, null-terminated.
const char* const* available_levels();
const char* current_level();
bool select_level(const char* name);  // false where this processor can't run it

}  // namespace softxent
