#include "arrays.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace py = pybind11;

namespace mcts {
namespace {

// DLPack's stable C interface, the parts that are read here.
// https://dmlc.github.io/dlpack/latest/c_api.html
struct DlTensor {
  void* data;
  std::int32_t device_type;
  std::int32_t device_id;
  std::int32_t num_dimensions;
  std::uint8_t type_code;
  std::uint8_t type_bits;
  std::uint16_t type_lanes;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: C-contiguous
  std::uint64_t byte_offset;
};
constexpr std::int32_t kCpu = 1;
constexpr std::int32_t kCudaHost = 3;  // pinned

std::string DlpackTypeName(const DlTensor& tensor) {
  constexpr std::string_view kNames[] = {"int",    "uint",    "float", "opaque",
                                         "bfloat", "complex", "bool"};
  if (tensor.type_code >= std::size(kNames)) return "unknown";
  std::string name(kNames[tensor.type_code]);
  if (name != "bool") name += std::to_string(tensor.type_bits);
  if (tensor.type_lanes != 1) name += "x" + std::to_string(tensor.type_lanes);
  return name;
}

bool IsContiguous(const DlTensor& tensor) {
  if (tensor.strides == nullptr) return true;
  std::int64_t wanted = 1;
  for (std::int32_t i = tensor.num_dimensions - 1; i >= 0; --i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != wanted) return false;
    wanted *= tensor.shape[i];
  }
  return true;
}

std::string Describe(const std::string& dtype, Lengths shape) {
  std::ostringstream text;
  text << dtype << " [";
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i == 0 ? "" : ", ") << shape[i];
  text << "]";
  return text.str();
}

[[noreturn]] void Refuse(const char* name, const std::string& got, const std::string& wanted) {
  throw std::invalid_argument(std::string(name) + ": got " + got + ", wanted " + wanted);
}

void CheckLayout(const char* name, bool is_contiguous, const void* data, std::size_t alignment) {
  if (is_contiguous && reinterpret_cast<std::uintptr_t>(data) % alignment == 0) return;
  Refuse(name, "a strided or unaligned array", "a C-contiguous one");
}

}  // namespace

void* Arrays::Data(const char* name, const py::object& array, const Wish& wish) {
  if (py::isinstance<py::array>(array)) {
    return NumpyData(name, py::reinterpret_borrow<py::array>(array), wish);
  }
  if (py::hasattr(array, "__dlpack__") && py::hasattr(array, "__dlpack_device__")) {
    return DlpackData(name, array, wish);
  }
  throw py::type_error(std::string(name) + ": got " +
                       std::string(py::str(py::type::of(array).attr("__name__"))) +
                       ", wanted a numpy array or a CPU tensor that speaks DLPack");
}

void* Arrays::NumpyData(const char* name, const py::array& array, const Wish& wish) {
  const Lengths got(array.shape(), static_cast<std::size_t>(array.ndim()));
  const py::dtype dtype = array.dtype();
  const bool is_native = dtype.byteorder() == '=' || dtype.byteorder() == '|';
  if (dtype.normalized_num() != wish.numpy_number || !is_native ||
      !std::ranges::equal(got, wish.shape)) {
    Refuse(name, Describe(py::str(dtype), got), Describe(wish.dtype, wish.shape));
  }
  const bool is_contiguous = (array.flags() & static_cast<int>(py::array::c_style)) != 0;
  CheckLayout(name, is_contiguous, array.data(), wish.alignment);
  if (wish.is_written && !array.writeable()) Refuse(name, "a read-only array", "a writable one");
  return const_cast<void*>(array.data());
}

// The capsule is only read: it is not renamed, so its producer frees it.
void* Arrays::DlpackData(const char* name, const py::object& tensor, const Wish& wish) {
  const auto device = py::cast<py::tuple>(tensor.attr("__dlpack_device__")());
  const auto device_type = py::cast<std::int32_t>(device[0]);
  if (device_type != kCpu && device_type != kCudaHost) {
    Refuse(name, "DLPack device type " + std::to_string(device_type), "memory of the CPU");
  }
  const auto& capsule = capsules_.emplace_back(tensor.attr("__dlpack__")());
  const void* const pointer = PyCapsule_GetPointer(capsule.ptr(), "dltensor");
  if (pointer == nullptr) throw py::error_already_set();
  const DlTensor& view = *static_cast<const DlTensor*>(pointer);
  const std::vector<py::ssize_t> got(view.shape, view.shape + view.num_dimensions);
  if (DlpackTypeName(view) != wish.dtype || !std::ranges::equal(got, wish.shape)) {
    Refuse(name, Describe(DlpackTypeName(view), got), Describe(wish.dtype, wish.shape));
  }
  void* const data = static_cast<std::byte*>(view.data) + view.byte_offset;
  CheckLayout(name, IsContiguous(view), data, wish.alignment);
  return data;
}

}  // namespace mcts
