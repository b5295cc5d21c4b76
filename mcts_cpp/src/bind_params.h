#pragma once

#include <pybind11/pybind11.h>

namespace mcts {

// Adds SearchParams to the module.
void BindParams(pybind11::module_& module);

}  // namespace mcts
