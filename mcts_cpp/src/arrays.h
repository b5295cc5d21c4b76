#pragma once

// Arrays passed from Python: numpy arrays, and CPU tensors of any library that supports DLPack
// (torch, jax). Checks dtype, shape and memory order and gives a span of the caller's memory;
// nothing is converted or copied.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace mcts {

using Lengths = std::span<const pybind11::ssize_t>;

// The one or two lengths that an array must have. Allocates no memory: there are several in each
// call, and a call can be shorter than a microsecond.
class Shape {
 public:
  explicit Shape(pybind11::ssize_t length) : lengths_{length, 1}, size_(1) {}
  Shape(pybind11::ssize_t rows, pybind11::ssize_t columns) : lengths_{rows, columns}, size_(2) {}

  Lengths lengths() const { return {lengths_.data(), size_}; }
  std::size_t num_elements() const { return static_cast<std::size_t>(lengths_[0] * lengths_[1]); }

 private:
  std::array<pybind11::ssize_t, 2> lengths_;
  std::size_t size_;
};

// The numpy name of T; bool travels as the byte it is stored in.
template <typename T>
const char* NumpyName() {
  if constexpr (std::is_same_v<T, float>) return "float32";
  if constexpr (std::is_same_v<T, std::int32_t>) return "int32";
  if constexpr (std::is_same_v<T, std::uint64_t>) return "uint64";
  if constexpr (std::is_same_v<T, std::uint8_t>) return "bool";
}

// The arrays of one call. Its life must cover every use of the spans, and it must be made and
// destroyed while the GIL is held.
class Arrays {
 public:
  template <typename T>
  std::span<const T> In(const char* name, const pybind11::object& array, const Shape& shape) {
    return {static_cast<const T*>(Data(name, array, Wanted<T>(shape, false))),
            shape.num_elements()};
  }

  // None is an empty span.
  template <typename T>
  std::span<const T> OptionalIn(const char* name, const pybind11::object& array,
                                const Shape& shape) {
    return array.is_none() ? std::span<const T>() : In<T>(name, array, shape);
  }

  template <typename T>
  std::span<T> Out(const char* name, const pybind11::object& array, const Shape& shape) {
    return {static_cast<T*>(Data(name, array, Wanted<T>(shape, true))), shape.num_elements()};
  }

 private:
  struct Wish {
    const char* dtype;
    int numpy_number;
    std::size_t alignment;
    Lengths shape;
    bool is_written;
  };

  template <typename T>
  static Wish Wanted(const Shape& shape, bool is_written) {
    using Element = std::conditional_t<std::is_same_v<T, std::uint8_t>, bool, T>;
    return {NumpyName<T>(), pybind11::dtype::num_of<Element>(), alignof(T), shape.lengths(),
            is_written};
  }

  void* Data(const char* name, const pybind11::object& array, const Wish& wish);
  void* NumpyData(const char* name, const pybind11::array& array, const Wish& wish);
  void* DlpackData(const char* name, const pybind11::object& tensor, const Wish& wish);

  std::vector<pybind11::object> capsules_;  // they keep DLPack's descriptions alive
};

}  // namespace mcts
