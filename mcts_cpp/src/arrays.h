#pragma once

// Arrays as Python hands them over: numpy arrays, and CPU tensors of any library that speaks DLPack
// (torch, jax). Checks dtype, shape and memory order and gives a span of the caller's memory;
// nothing is converted or copied.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace mcts {

using Shape = std::vector<pybind11::ssize_t>;

// What numpy calls T; bool travels as the byte it is stored in.
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
    return {static_cast<const T*>(Data(name, array, Wanted<T>(shape, false))), Size(shape)};
  }

  // None is an empty span.
  template <typename T>
  std::span<const T> OptionalIn(const char* name, const pybind11::object& array,
                                const Shape& shape) {
    return array.is_none() ? std::span<const T>() : In<T>(name, array, shape);
  }

  template <typename T>
  std::span<T> Out(const char* name, const pybind11::object& array, const Shape& shape) {
    return {static_cast<T*>(Data(name, array, Wanted<T>(shape, true))), Size(shape)};
  }

 private:
  struct Wish {
    const char* dtype;
    int numpy_number;
    std::size_t alignment;
    const Shape& shape;
    bool is_written;
  };

  template <typename T>
  static Wish Wanted(const Shape& shape, bool is_written) {
    using Element = std::conditional_t<std::is_same_v<T, std::uint8_t>, bool, T>;
    return {NumpyName<T>(), pybind11::dtype::num_of<Element>(), alignof(T), shape, is_written};
  }

  static std::size_t Size(const Shape& shape);
  void* Data(const char* name, const pybind11::object& array, const Wish& wish);
  void* NumpyData(const char* name, const pybind11::array& array, const Wish& wish);
  void* DlpackData(const char* name, const pybind11::object& tensor, const Wish& wish);

  std::vector<pybind11::object> capsules_;  // they keep DLPack's descriptions alive
};

}  // namespace mcts
