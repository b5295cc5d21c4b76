// Python face of the blocks; the signatures, with their documentation, are in _blocks.pyi.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "step_block.h"

namespace py = pybind11;

namespace efficientzero {
namespace {

using Floats = py::array_t<float, py::array::c_style>;

[[noreturn]] void Refuse(const std::string& what, const std::string& got,
                         const std::string& wanted) {
  throw py::value_error(what + ": got " + got + ", wanted " + wanted);
}

// The format of all blocks of one environment.
class Format {
 public:
  Format(std::vector<py::ssize_t> frame_shape, const py::object& frame_dtype, std::size_t row_size,
         std::size_t max_steps)
      : frame_shape_(std::move(frame_shape)), dtype_(py::dtype::from_args(frame_dtype)) {
    shape_ = {.frame_bytes = static_cast<std::size_t>(dtype_.itemsize()),
              .row_size = row_size,
              .max_steps = max_steps};
    for (const py::ssize_t size : frame_shape_)
      shape_.frame_bytes *= static_cast<std::size_t>(size);
    if (frame_shape_.size() > 1) {  // a picture
      const std::size_t row_bytes =
          static_cast<std::size_t>(frame_shape_.back() * dtype_.itemsize());
      shape_.pitch = row_bytes % kLineBytes == 0 ? row_bytes : 0;
    }
    if (shape_.frame_bytes == 0 || max_steps == 0) {
      Refuse(
          "block",
          std::to_string(max_steps) + " frames of " + std::to_string(shape_.frame_bytes) + " bytes",
          "at least one of each");
    }
  }

  const BlockShape& shape() const { return shape_; }
  std::size_t max_bytes() const { return shape_.max_bytes(shape_.max_steps); }

  // Whether the array's last dimensions are a frame's, one after another in memory.
  void Check(const py::array& frames, py::ssize_t more_dimensions, const char* name) const {
    const py::ssize_t num_dimensions = static_cast<py::ssize_t>(frame_shape_.size());
    if (frames.ndim() != num_dimensions + more_dimensions || !HasDtype(frames) ||
        !(frames.flags() & py::array::c_style) ||
        !std::equal(frame_shape_.begin(), frame_shape_.end(), frames.shape() + more_dimensions)) {
      const py::str describe("{} {}");
      Refuse(name, describe.format(frames.dtype(), frames.attr("shape")),
             describe.format(dtype_, py::tuple(py::cast(frame_shape_))));
    }
  }

 private:
  // Nearly always the same object; a full comparison takes longer than a frame.
  bool HasDtype(const py::array& frames) const {
    const py::dtype dtype = frames.dtype();
    return dtype.is(dtype_) || dtype.equal(dtype_);
  }

  std::vector<py::ssize_t> frame_shape_;
  py::dtype dtype_;
  BlockShape shape_;
};

class Packer {
 public:
  explicit Packer(const Format& format)
      : format_(format), writer_(format.shape()), numbers_(format.shape().row_size) {}

  bool Add(const py::array& frame, const py::tuple& numbers, const Floats& more) {
    const std::size_t num_more = static_cast<std::size_t>(more.size());
    if (IsFull()) Refuse("steps of a block", "one more", "at most those of its format");
    format_.Check(frame, 0, "frame");
    if (numbers.size() + num_more != format_.shape().row_size) {
      Refuse("row", std::to_string(numbers.size() + num_more) + " numbers",
             std::to_string(format_.shape().row_size));
    }
    // Everything that can fail comes before the block changes.
    std::size_t count = 0;
    for (const py::handle number : numbers) {
      const double value = PyFloat_AsDouble(number.ptr());
      if (value == -1.0 && PyErr_Occurred()) throw py::error_already_set();
      numbers_[count++] = static_cast<float>(value);
    }
    float* const row = writer_.Add(static_cast<const std::uint8_t*>(frame.data()));
    std::copy_n(numbers_.data(), count, row);
    std::copy_n(more.data(), num_more, row + count);
    return IsFull();
  }

  py::bytes Finish() {
    const auto block = writer_.Write();
    py::bytes bytes(reinterpret_cast<const char*>(block.data()), block.size());
    writer_.Clear();
    return bytes;
  }

  void Clear() { writer_.Clear(); }

 private:
  bool IsFull() const { return writer_.num_steps() == format_.shape().max_steps; }

  Format format_;
  BlockWriter writer_;
  std::vector<float> numbers_;
};

// Owns the bytes that its reader reads.
class Block {
 public:
  Block(const Format& format, py::bytes bytes)
      : format_(format), bytes_(std::move(bytes)), reader_(format.shape(), View(bytes_)) {}

  std::size_t num_steps() const { return reader_.num_steps(); }

  Floats Rows() const {
    Floats rows({reader_.num_steps(), format_.shape().row_size});
    std::memcpy(rows.mutable_data(), reader_.rows(), static_cast<std::size_t>(rows.nbytes()));
    return rows;
  }

  std::size_t CopyFrames(py::array& target, std::size_t first) const {
    format_.Check(target, 1, "target");
    const std::size_t left = reader_.num_steps() - std::min(first, reader_.num_steps());
    const std::size_t count = std::min(static_cast<std::size_t>(target.shape(0)), left);
    auto* const frames = static_cast<std::uint8_t*>(target.mutable_data());
    const py::gil_scoped_release release;
    reader_.CopyFrames(first, count, frames);
    return count;
  }

 private:
  static std::span<const std::uint8_t> View(const py::bytes& bytes) {
    const auto view = static_cast<std::string_view>(bytes);
    return {reinterpret_cast<const std::uint8_t*>(view.data()), view.size()};
  }

  Format format_;
  py::bytes bytes_;
  BlockReader reader_;
};

}  // namespace
}  // namespace efficientzero

PYBIND11_MODULE(_blocks, module) {
  using efficientzero::Block;
  using efficientzero::Format;
  using efficientzero::Packer;
  py::class_<Format>(module, "BlockFormat")
      .def(py::init<std::vector<py::ssize_t>, py::object, std::size_t, std::size_t>(),
           py::kw_only(), py::arg("frame_shape"), py::arg("frame_dtype"), py::arg("row_size"),
           py::arg("max_steps"))
      .def_property_readonly("max_bytes", &Format::max_bytes);
  py::class_<Packer>(module, "BlockPacker")
      .def(py::init<const Format&>())
      .def("add", &Packer::Add)
      .def("finish", &Packer::Finish)
      .def("clear", &Packer::Clear);
  py::class_<Block>(module, "Block")
      .def(py::init<const Format&, py::bytes>())
      .def_property_readonly("num_steps", &Block::num_steps)
      .def("rows", &Block::Rows)
      .def("copy_frames", &Block::CopyFrames);
}
