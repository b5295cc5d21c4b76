#pragma once

#include <sstream>
#include <stdexcept>

namespace mcts {

// Throws an error of the caller's arguments: got and wanted, joined as a stream prints them.
template <typename... Parts>
[[noreturn]] void Refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

}  // namespace mcts
